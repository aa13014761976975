//! After a power loss a durable row may be there without the directories that belonged to it.

use anyhow::{Context, Result};
use strata_driver::mount::mount;
use strata_driver::{Availability, Host, OpenOptions, PrepareOptions, SnapshotName};

#[test]
fn empty_snapshots_whose_directories_are_lost_are_made_again() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()?;
    let host = Host::probe();
    for factory in strata_drivers::registry().factories() {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("root");
        if let Availability::Unavailable(missing) = factory.probe(&host, directory.path()) {
            eprintln!("skipped: {}: {missing:?}", factory.name());
            continue;
        }
        let (active, view) = (SnapshotName::new("active")?, SnapshotName::new("view")?);
        let options = OpenOptions::new(&root);
        let driver = factory.open(&options, &host)?;
        runtime.block_on(async {
            let prepare = PrepareOptions::default();
            driver.prepare(&active, None, &prepare).await?;
            driver.view(&view, None, &prepare).await?;
            driver.close().await
        })?;
        drop(driver);
        let snapshots = root.join("snapshots");
        if !snapshots.exists() {
            eprintln!(
                "skipped: {}: its directories are on no disk of ours",
                factory.name()
            );
            continue;
        }
        for entry in fs_err::read_dir(snapshots)? {
            fs_err::remove_dir_all(entry?.path())?;
        }
        let driver = factory.open(&options, &host)?;
        let target = directory.path().join("target");
        fs_err::create_dir(&target)?;
        for key in [&active, &view] {
            let plan = runtime.block_on(driver.mounts(key))?;
            let mounted = mount(&plan, &target).with_context(|| key.to_string())?;
            assert_eq!(fs_err::read_dir(&target)?.count(), 0);
            mounted.unmount()?;
            runtime.block_on(driver.remove(key))?;
        }
    }
    Ok(())
}
