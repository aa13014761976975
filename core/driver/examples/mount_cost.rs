//! What a mount costs: `mount_cost DIRECTORY [LAYERS] [ROUNDS]`; needs root, and a DIRECTORY whose
//! file system can be an upper layer.
//!
//! Prints wall microseconds of mounting and unmounting an overlay of LAYERS lower directories, and
//! of mounting it detached.

use std::time::{Duration, Instant};
use strata_driver::{MountFlags, MountOption, MountPlan, MountStep, Result, SnapshotName, mount};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().expect("DIRECTORY is given");
    let mut number = |default: u32| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (layers, rounds) = (number(4), number(500));
    let directory = |name: String| {
        let path = format!("{base}/{name}");
        fs_err::create_dir_all(&path).expect("DIRECTORY can be written");
        path
    };
    let mut options: Vec<_> = (0..layers)
        .map(|layer| MountOption::pair("lowerdir+", directory(format!("lower-{layer}"))))
        .collect();
    options.push(MountOption::pair("upperdir", directory("upper".to_owned())));
    options.push(MountOption::pair("workdir", directory("work".to_owned())));
    let target = directory("target".to_owned());
    let plan = MountPlan {
        snapshot: SnapshotName::new("example")?,
        steps: vec![MountStep {
            fs_type: "overlay".to_owned(),
            source: "overlay".into(),
            options,
            flags: MountFlags::default(),
        }],
        hold: Some(directory("upper".to_owned()).into()),
    };
    let [mut mounting, mut unmounting, mut detached] = [Duration::ZERO; 3];
    for _ in 0..rounds {
        let start = Instant::now();
        let mounted = mount::mount(&plan, target.as_ref())?;
        mounting += start.elapsed();
        let start = Instant::now();
        mounted.unmount()?;
        unmounting += start.elapsed();
        let start = Instant::now();
        drop(mount::detached(&plan)?);
        detached += start.elapsed();
    }
    for (step, time) in [
        ("mount", mounting),
        ("unmount", unmounting),
        ("detached", detached),
    ] {
        eprintln!(
            "{step:10} {:8.1} us",
            time.as_secs_f64() * 1e6 / f64::from(rounds)
        );
    }
    Ok(())
}
