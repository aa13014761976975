//! A driver on a fixture of its own, ready to be tried.

use crate::conformance::Place;
use crate::context::{Context, Setting};
use crate::fixture::Fixture;
use crate::runner;
use crate::seed::Seed;
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::Arc;
use strata_driver::{Availability, Capabilities, DriverFactory, Host, OpenOptions};
use tokio::runtime::Runtime;

/// Bytes of the file system that a driver is given; sparse, so only what is written counts.
const SIZE: u64 = 4 << 30;

/// A driver that can be run here.
#[derive(Debug)]
pub(crate) struct Stand {
    /// What cases and scripts are given.
    pub(crate) setting: Setting,
    /// What the driver says of itself.
    pub(crate) capabilities: Capabilities,
    /// The file system under it.
    pub(crate) backing: String,
    /// To be closed at the end.
    pub(crate) fixture: Fixture,
}

impl Stand {
    /// Makes the fixture and asks the driver; a text is the reason why it cannot be run here.
    pub(crate) fn take(
        factory: &Arc<dyn DriverFactory>,
        (place, settings, seed): (&Place, &BTreeMap<String, String>, Seed),
        runtime: &Arc<Runtime>,
    ) -> Result<Result<Self, String>> {
        if let Place::FileSystem(kind) = place
            && let Some(missing) = kind.missing()
        {
            return Ok(Err(format!("no {kind} fixture: {missing}")));
        }
        let fixture = match place {
            Place::FileSystem(kind) => Fixture::file_system(*kind, SIZE)?,
            Place::Directory(path) => Fixture::directory_in(path)?,
        };
        let host = Host::probe();
        let root = fixture.path().join("root");
        if let Availability::Unavailable(why) = factory.probe(&host, &root) {
            fixture.close()?;
            return Ok(Err(format!("{} ({})", why.missing, why.hint)));
        }
        let mut open = OpenOptions::new(root);
        open.settings.clone_from(settings);
        let setting = Setting {
            factory: factory.clone(),
            host,
            runtime: runtime.clone(),
            place: fixture.path().to_owned(),
            kind: fixture.kind(),
            seed,
            child: None,
            open,
        };
        let place = fixture.path().join("asked");
        let mut context = Context::new(&setting, place.clone())?;
        let capabilities = context.capabilities().clone();
        context.shut()?;
        drop(context);
        runner::remove_place(&place)?;
        Ok(Ok(Self {
            setting,
            capabilities,
            backing: fixture.backing(),
            fixture,
        }))
    }
}
