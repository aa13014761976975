//! Progress, held against what Docker 28 wrote to a terminal.

use crate::docker::progress::{Count, Meter, Printer};

const RECORDED: &str = include_str!("../../../tests/data/docker-28-pull-tty.txt");

fn printed(width: Option<u16>, print: impl FnOnce(&Printer<&mut Vec<u8>>)) -> String {
    let mut out = Vec::new();
    print(&Printer::new(&mut out, width));
    String::from_utf8(out).unwrap()
}

/// Bytes that are shown as these.
fn count(current: i64, total: i64) -> Count {
    Count { current, total }
}

#[test]
fn a_pull_on_a_narrow_terminal_writes_the_recorded_bytes() {
    let (base, second, big, last) = (
        "60d693751c3e",
        "7f27d6bd98f9",
        "778904402c64",
        "846cf3b705d3",
    );
    let ours = printed(Some(80), |printer| {
        printer.line("1: Pulling from peers/small").unwrap();
        printer.state(base, "Already exists").unwrap();
        printer.state(second, "Already exists").unwrap();
        printer.state(big, "Pulling fs layer").unwrap();
        printer.state(last, "Pulling fs layer").unwrap();
        printer.state(last, "Download complete").unwrap();
        for current in [513_000, 41_330_000] {
            let count = count(current, 50_462_064);
            printer.advance(big, "Downloading", count).unwrap();
        }
        printer.state(big, "Verifying Checksum").unwrap();
        printer.state(big, "Download complete").unwrap();
        for current in [
            524_288, 15_728_640, 22_544_384, 28_835_840, 39_845_888, 50_462_064,
        ] {
            let count = count(current, 50_462_064);
            printer.advance(big, "Extracting", count).unwrap();
        }
        printer.state(big, "Pull complete").unwrap();
        for _ in 0..2 {
            let count = count(3620, 3620);
            printer.advance(last, "Extracting", count).unwrap();
        }
        printer.state(last, "Pull complete").unwrap();
        let digest = "91e470e1a9b0558eddb2c733de50efb3dbbd1a406635394adef6f95b33c2d078";
        printer.line(&format!("Digest: sha256:{digest}")).unwrap();
        printer
            .line("Status: Downloaded newer image for 127.0.0.1:5000/peers/small:1")
            .unwrap();
        printer.line("127.0.0.1:5000/peers/small:1").unwrap();
    });
    // The terminal's line discipline had put a carriage return before each line feed.
    assert_eq!(ours, RECORDED.replace("\r\n", "\n"));
}

#[test]
fn a_bar_is_drawn_on_a_wide_terminal_only() {
    let shown = |width, current, total| {
        let text = printed(Some(width), |printer| {
            printer
                .advance("a", "Extracting", count(current, total))
                .unwrap();
        });
        let start = text.find("Extracting ").unwrap() + "Extracting ".len();
        text[start..text.rfind('\r').unwrap()].to_owned()
    };
    assert_eq!(shown(110, 5, 10), "      5B/10B");
    let (half, rest) = ("=".repeat(25), " ".repeat(25));
    assert_eq!(shown(111, 5, 10), format!("[{half}>{rest}]       5B/10B"));
    let whole = "=".repeat(50);
    assert_eq!(shown(111, 10, 10), format!("[{whole}>]      10B/10B"));
    assert_eq!(shown(111, 20, 10), format!("[{whole}>]      20B"));
    assert_eq!(shown(111, 1500, 0), "   1.5kB");
    assert_eq!(shown(111, 0, 0), "");
}

#[test]
fn a_line_of_its_own_starts_a_new_block() {
    let text = printed(Some(80), |printer| {
        printer.state("a", "Waiting").unwrap();
        printer.line("done").unwrap();
        printer.state("b", "Waiting").unwrap();
        printer.state("b", "Ready").unwrap();
    });
    let line = |id: &str, status: &str| format!("\x1b[1A\x1b[2K\r{id}: {status} \r\x1b[1B");
    assert_eq!(
        text,
        format!(
            "\n{}done\n\n{}{}",
            line("a", "Waiting"),
            line("b", "Waiting"),
            line("b", "Ready")
        )
    );
}

#[test]
fn threads_do_not_break_each_others_lines() {
    let text = printed(None, |printer| {
        std::thread::scope(|scope| {
            for id in ["a", "b", "c", "d"] {
                scope.spawn(move || {
                    for _ in 0..200 {
                        printer.state(id, "Waiting").unwrap();
                        printer.advance(id, "Downloading", count(1, 2)).unwrap();
                    }
                });
            }
        });
    });
    let mut counts = std::collections::BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line).or_insert(0) += 1;
    }
    assert!(counts.into_iter().eq([
        ("a: Waiting", 200),
        ("b: Waiting", 200),
        ("c: Waiting", 200),
        ("d: Waiting", 200),
    ]));
}

#[test]
fn a_meter_shows_each_hundredth_of_what_is_small() {
    let mut meter = Meter::new(1000);
    let shown: Vec<_> = (1..=1000).filter_map(|at| meter.due(at)).collect();
    assert_eq!(shown.first(), Some(&count(11, 1000)));
    assert_eq!(shown.last(), Some(&count(1000, 1000)));
    assert_eq!(shown.len(), 91);
    let mut meter = Meter::new(0);
    assert_eq!(meter.due(512 * 1024), None);
    assert_eq!(meter.due(512 * 1024 + 1), Some(count(512 * 1024 + 1, 0)));
}
