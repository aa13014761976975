//! `save`, `load`, `import`.

use super::flags::{ImportFlags, LoadFlags, SaveFlags};
use super::list::{no_such, put};
use super::opened::Context;
use super::registry::{parse_platform, progress};
use crate::file::{self, Part};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use strata_image::Reference;
use strata_image::archive::{Input, LoadOptions, Loader, SaveOptions, save as write_archive};
use strata_image::import::{Changes, ImportOptions, Importer};
use strata_image::progress::Silent;

pub(super) fn save(flags: &SaveFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    if flags.output.is_none() && std::io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    if context.look()?.is_none() {
        return Err(no_such(&flags.images[0]).into());
    }
    context.heed_signals()?;
    let layers = context.open()?;
    let options = SaveOptions::default()
        .with_uncompressed(flags.uncompressed)
        .with_cancel(context.cancel.clone());
    let write = |out: Box<dyn Write + Send>| -> anyhow::Result<()> {
        let work = write_archive(&layers, &flags.images, BufWriter::new(out), &options);
        context.runtime.block_on(work)?.flush()?;
        Ok(())
    };
    let outcome = match flags.output.as_deref() {
        None => write(Box::new(std::io::stdout())),
        Some(path) => file::written_whole(path, |part: Part| write(Box::new(part))),
    };
    context.close(&layers, outcome)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn load(flags: &LoadFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let input = match flags.input.as_deref() {
        Some(path) => Input::open(path)?,
        None if std::io::stdin().is_terminal() => {
            bail!("requested load from stdin, but stdin is empty");
        }
        None => Input::stdin()?,
    };
    context.heed_signals()?;
    let layers = context.open()?;
    let loader = Loader {
        layers: layers.clone(),
        options: LoadOptions::default(),
        // As Docker, it tells of layers on terminals only.
        progress: if flags.quiet || !std::io::stdout().is_terminal() {
            Arc::new(Silent)
        } else {
            progress(false)
        },
        cancel: context.cancel.clone(),
    };
    let outcome = context.runtime.block_on(loader.load(input));
    for image in context.close(&layers, outcome.map_err(Into::into))? {
        for (name, before) in &image.replaced {
            put(&format!(
                "The image {name} already exists, renaming the old one with ID {before} to empty \
                 string\n"
            ))?;
        }
        if image.names.is_empty() {
            put(&format!("Loaded image ID: {}\n", image.id))?;
        }
        for name in &image.names {
            put(&format!("Loaded image: {name}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn import(flags: &ImportFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let is_stdin = flags.file == Path::new("-");
    let mut options = ImportOptions::new(moment()?);
    options.changes = Changes::parse(&flags.change)?;
    options.message.clone_from(&flags.message);
    options.source = flags.file.display().to_string();
    options.platform = flags.platform.as_deref().map(parse_platform).transpose()?;
    options.name = flags.name.as_deref().map(Reference::parse).transpose()?;
    let input = if is_stdin {
        Input::stdin()?
    } else {
        Input::open(&flags.file)?
    };
    context.heed_signals()?;
    let layers = context.open()?;
    let importer = Importer {
        layers: layers.clone(),
        options,
        progress: Arc::new(Silent),
        cancel: context.cancel.clone(),
    };
    let id = context.runtime.block_on(importer.import(input));
    let id = context.close(&layers, id.map_err(Into::into))?;
    put(&format!("{id}\n"))
}

/// Now, or `SOURCE_DATE_EPOCH`.
fn moment() -> anyhow::Result<Timestamp> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(Timestamp::now()),
        Ok(text) => {
            let seconds = text.parse().ok();
            seconds
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: `{text}`"))
        }
    }
}
