//! Other ends: two who work at once, one of whom dies; and signals that a command heeds.

use super::account::Kept;
use super::little::{BASE, TALL, WIDE};
use super::scene::{Scene, Shop};
use super::victim::{self, Victim};
use crate::support::cells;
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use strata_harness::seed::{Generator, Seed, rounds};
use strata_store::phase::Phase;

const MIDDLE: &[Phase] = &[Phase::Fetch, Phase::Extract, Phase::Commit];

/// A moment in the middle of a pull: it waits for the beginning of a phase, and a while. False if
/// it ended before.
fn reach(victim: &mut Victim, random: &mut Generator) -> (bool, Duration) {
    let phase = *random.pick(MIDDLE);
    let times = 1 + random.below(3);
    let delay = Duration::from_micros(random.below(8_000) as u64);
    (victim.wait_for(phase, times), delay)
}

#[test]
fn pull_goes_on_when_another_of_the_same_dies() {
    let Some(shop) = Shop::open() else { return };
    for cell in cells() {
        let scene = Scene::new(&shop, cell);
        let mut random = Seed::default().generator("two pulls");
        for round in 0..rounds(4, 30) {
            let name = shop.name(WIDE);
            let arguments = ["pull", "-q", &name];
            let mut first = scene.watch(&arguments);
            let second = scene.watch(&arguments);
            let (is_met, delay) = reach(&mut first, &mut random);
            first.signal_after(delay, Signal::KILL);
            let pair = std::thread::spawn(move || second.end());
            let first = first.end();
            let second = pair.join().unwrap();
            let why = format!(
                "{cell:?}, round {round}: one of two pulls killed (met: {is_met}) with {:?} under way",
                first.trace.under_way()
            );
            assert!(second.status.success(), "{why}: {}", second.trace.rest);
            scene.recover(&why);
            let again = scene.pull(WIDE);
            assert!(again.contains("/wide"), "{why}: {again}");
            scene.clear(&why);
        }
    }
}

#[test]
fn pull_and_removal_of_what_it_shares_live_together() {
    let Some(shop) = Shop::open() else { return };
    for cell in cells() {
        let scene = Scene::new(&shop, cell);
        let mut random = Seed::default().generator("pull and rmi");
        for round in 0..rounds(6, 40) {
            scene.pull(BASE);
            let mut pull = scene.watch(&["pull", "-q", &shop.name(WIDE)]);
            let is_first = round % 2 == 0;
            if is_first {
                reach(&mut pull, &mut random);
            }
            let removal = scene.watch(&["rmi", &shop.name(BASE)]);
            let is_killed = round % 3 == 2;
            let pair = std::thread::spawn(move || removal.end());
            if is_killed {
                let (_, delay) = reach(&mut pull, &mut random);
                pull.signal_after(delay, Signal::KILL);
            }
            let pull = pull.end();
            let removal = pair.join().unwrap();
            let why = format!(
                "{cell:?}, round {round}: `rmi` during a pull (begun before: {is_first}, killed: \
                 {is_killed})"
            );
            assert!(removal.status.success(), "{why}: {}", removal.trace.rest);
            assert!(
                is_killed || pull.status.success(),
                "{why}: {}",
                pull.trace.rest
            );
            scene.recover(&why);
            scene.pull(WIDE);
            scene.recover(&format!("{why}, and pulled"));
            scene.clear(&why);
        }
    }
}

/// Passes on what comes for the registry, and every answer late.
fn slow_front(registry: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let registry = TcpStream::connect(&registry).unwrap();
            let ways = [
                (client.try_clone(), registry.try_clone(), Duration::ZERO),
                (Ok(registry), Ok(client), Duration::from_millis(50)),
            ];
            for (from, to, delay) in ways {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                std::thread::spawn(move || {
                    let mut block = vec![0; 1 << 20];
                    while let Ok(read @ 1..) = from.read(&mut block) {
                        std::thread::sleep(delay);
                        if to.write_all(&block[..read]).is_err() {
                            break;
                        }
                    }
                    // Whichever side is gone already, the other is to know.
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    host
}

/// Layers are opened before the first byte of their blobs has come.
#[test]
fn pull_from_a_slow_registry_comes_to_its_end() {
    let Some(shop) = Shop::open() else { return };
    let host = slow_front(shop.registry.host().to_owned());
    for cell in cells() {
        let scene = Scene::new(&shop, cell);
        let name = format!("{host}/{TALL}");
        let mut pull = scene.store.start(&["pull", "-q", &name]);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = pull.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > victim::PATIENCE {
                pull.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{cell:?}: {status}");
        scene.recover(&format!("{cell:?}: pulled slowly"));
    }
}

#[test]
fn interrupted_pull_says_so_and_leaves_nothing_half_made() {
    let Some(shop) = Shop::open() else { return };
    for cell in cells() {
        let scene = Scene::new(&shop, cell);
        let mut random = Seed::default().generator("signals");
        for signal in [Signal::INT, Signal::TERM] {
            let wanted = rounds(3, 20);
            let mut met = 0;
            for round in 0..wanted * 8 {
                if met == wanted {
                    break;
                }
                let mut pull = scene.watch(&["pull", "-q", &shop.name(WIDE)]);
                // Early enough to meet the middle: what is begun is not the last of its kind.
                let phase = *random.pick(&[Phase::Fetch, Phase::Extract]);
                let is_there = pull.wait_for(phase, 1 + random.below(2));
                let delay = Duration::from_micros(random.below(10_000) as u64);
                pull.signal_after(delay, signal);
                let ended = pull.end();
                let why = format!("{cell:?}, round {round}: {signal:?} {delay:?} after {phase:?}");
                if ended.status.success() || !is_there {
                    scene.clear(&why);
                    continue;
                }
                let said = &ended.trace.rest;
                assert_eq!(ended.status.code(), Some(130), "{why}: {said}");
                if said.is_empty() {
                    // It was done when it heard the signal.
                    scene.clear(&why);
                    continue;
                }
                met += 1;
                assert_eq!(said.lines().count(), 1, "{why}: {said}");
                assert!(said.starts_with("error: "), "{why}: {said}");
                assert!(said.contains("interrupted"), "{why}: {said}");
                scene.nothing_visible(&why);
                let before = Kept::look(&scene.store);
                let kept = scene.recover(&why);
                assert_eq!(kept, before, "{why}");
                scene.pull_rest(WIDE, &kept, &why);
                scene.clear(&why);
            }
            assert_eq!(met, wanted, "{cell:?}: {signal:?} in the middle of a pull");
        }
        victim::wait_until_all_ended(&scene.store.root());
    }
}
