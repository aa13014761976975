//! `explain`, `usage`.

use super::flags::{ExplainFlags, UsageFlags};
use super::list::{put, store_with};
use super::opened::Context;
use std::process::ExitCode;
use strata_image::explain::{Verdict, explain as look};
use strata_image::images::Images;
use strata_image::usage::{UsageReport, usage as add_up};

/// Ends with 0 if the image has the path, with 1 if it has not.
pub(super) fn explain(flags: &ExplainFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let store = store_with(context, &flags.image)?;
    let image = Images::of(&store).find(&flags.image)?;
    let explanation = look(&store, &image.id, &flags.path)?;
    if flags.json {
        put(&format!(
            "{}\n",
            serde_json::to_string_pretty(&explanation)?
        ))?;
    } else {
        put(&explanation.to_string())?;
    }
    Ok(if explanation.verdict == Verdict::Present {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn usage(flags: &UsageFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let report = match context.look()? {
        None => match &flags.image {
            Some(name) => return Err(super::list::no_such(name).into()),
            None => UsageReport::default(),
        },
        Some(store) => {
            let image = match &flags.image {
                Some(name) => Some(Images::of(&store).find(name)?.id),
                None => None,
            };
            drop(store);
            let layers = context.open()?;
            let report = context.runtime.block_on(add_up(&layers, image.as_ref()));
            context.close(&layers, report.map_err(Into::into))?
        }
    };
    if flags.json {
        put(&format!("{}\n", serde_json::to_string_pretty(&report)?))
    } else {
        put(&report.to_string())
    }
}
