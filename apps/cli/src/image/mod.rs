//! The commands of images: Docker's words over the store.

mod archive;
mod explaining;
pub(crate) mod flags;
mod list;
mod mending;
mod opened;
mod progress;
mod registry;
mod remove;
mod rows;
mod secret;
mod space;

use crate::config::Settings;
use flags::{ImageCommand, ImageGroupCommand, SystemCommand};
use opened::Context;
use std::process::ExitCode;
use strata_driver::Registry;

pub(crate) fn run(
    command: &ImageCommand,
    settings: &Settings,
    registry: &Registry,
    verbose: u8,
) -> anyhow::Result<ExitCode> {
    let context = Context::new(settings, registry, verbose)?;
    let outcome = dispatch(command, &context);
    if context.cancel.is_cancelled() {
        return outcome.and(Ok(ExitCode::from(130))).or_else(|error| {
            crate::show_error(&error);
            Ok(ExitCode::from(130))
        });
    }
    outcome
}

fn dispatch(command: &ImageCommand, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    match command {
        ImageCommand::Pull(flags) => registry::pull(flags, context),
        ImageCommand::Images(flags) => list::images(flags, context),
        ImageCommand::Search(flags) => registry::search(flags, context),
        ImageCommand::Rmi(flags) => remove::images(flags, context),
        ImageCommand::Tag(flags) => list::tag(flags, context),
        ImageCommand::History(flags) => list::history(flags, context),
        ImageCommand::Inspect(flags) => list::inspect(flags, context),
        ImageCommand::Push(flags) => registry::push(flags, context),
        ImageCommand::Save(flags) => archive::save(flags, context),
        ImageCommand::Load(flags) => archive::load(flags, context),
        ImageCommand::Import(flags) => archive::import(flags, context),
        ImageCommand::Login(flags) => registry::login(flags, context),
        ImageCommand::Logout { server } => registry::logout(server.as_deref(), context),
        ImageCommand::Explain(flags) => explaining::explain(flags, context),
        ImageCommand::Usage(flags) => explaining::usage(flags, context),
        ImageCommand::Check(flags) => mending::check(flags, context),
        ImageCommand::Migrate(flags) => mending::migrate(flags, context),
        ImageCommand::System(group) => match &group.command {
            SystemCommand::Df { format } => space::df(format.as_deref(), context),
            SystemCommand::Prune(flags) => remove::prune_system(flags, context),
            SystemCommand::Sweep => remove::sweep(context),
        },
        ImageCommand::Image(group) => match &group.command {
            ImageGroupCommand::Ls(flags) => list::images(flags, context),
            ImageGroupCommand::Rm(flags) => remove::images(flags, context),
            ImageGroupCommand::Prune(flags) => remove::prune_images(flags, context),
            ImageGroupCommand::Inspect(flags) => list::inspect(flags, context),
            ImageGroupCommand::History(flags) => list::history(flags, context),
            ImageGroupCommand::Pull(flags) => registry::pull(flags, context),
            ImageGroupCommand::Push(flags) => registry::push(flags, context),
            ImageGroupCommand::Save(flags) => archive::save(flags, context),
            ImageGroupCommand::Load(flags) => archive::load(flags, context),
            ImageGroupCommand::Import(flags) => archive::import(flags, context),
            ImageGroupCommand::Tag(flags) => list::tag(flags, context),
        },
    }
}
