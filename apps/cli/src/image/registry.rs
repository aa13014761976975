//! `pull`, `push`, `search`, `login`, `logout`.

use super::flags::{LoginFlags, PullFlags, PushFlags, SearchFlags};
use super::list::{field, put};
use super::opened::Context;
use super::progress::Lines;
use crate::docker::filters::{Filters, OF_SEARCH, SearchFilter};
use crate::docker::rows::SearchResult;
use crate::docker::search as words;
use anyhow::{Context as _, bail};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use strata_image::Reference;
use strata_image::document::Platform;
use strata_image::progress::{Progress, Silent};
use strata_image::pull::{PullOptions, Pulled, Puller};
use strata_image::push::Pusher;
use strata_image::reference::{DEFAULT_DOMAIN, DEFAULT_TAG};
use strata_image::registry::{
    Credential, CredentialFile, LOGIN_SUCCEEDED, OciRegistry, RetryPolicy, SearchMethod, Settings,
    login as log_in, logout as log_out,
};

/// What the configuration says of registries.
pub(super) fn settings(context: &Context<'_>) -> Settings {
    let file = &context.settings.file.registries;
    let mut settings = Settings::from_environment();
    if let Some(default) = &file.default {
        settings = settings.with_default_registry(default);
    }
    for host in &file.insecure {
        settings = settings.with_insecure(host);
    }
    for (domain, hosts) in &file.mirrors {
        for host in hosts {
            settings = settings.with_mirror(domain, host);
        }
    }
    if let Some(seconds) = file.timeout {
        settings = settings.with_stall_timeout(Duration::from_secs(seconds.max(1)));
    }
    settings
}

pub(super) fn client(context: &Context<'_>) -> anyhow::Result<Arc<OciRegistry>> {
    let registry = OciRegistry::new(settings(context), CredentialFile::of_user())?;
    Ok(Arc::new(registry))
}

pub(super) fn policy(context: &Context<'_>) -> RetryPolicy {
    let policy = RetryPolicy::default();
    match context.settings.file.registries.attempts {
        Some(attempts) => policy.with_attempts(attempts),
        None => policy,
    }
}

/// What is told while it goes on; nothing with `-q`.
pub(super) fn progress(is_quiet: bool) -> Arc<dyn Progress> {
    if is_quiet {
        Arc::new(Silent)
    } else {
        Arc::new(Lines::to_stdout())
    }
}

pub(super) fn pull(flags: &PullFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let reference = Reference::parse(&flags.name)?;
    if flags.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
        bail!("tag can't be used with --all-tags/-a");
    }
    let platform = flags.platform.as_deref().map(parse_platform).transpose()?;
    if reference.is_name_only() && !flags.all_tags && !flags.quiet {
        put(&format!("Using default tag: {DEFAULT_TAG}\n"))?;
    }
    context.heed_signals()?;
    let mut options = PullOptions::default();
    options.platform.clone_from(&platform);
    options.policy = policy(context);
    let layers = context.open()?;
    let puller = Puller {
        layers: layers.clone(),
        registry: client(context)?,
        options,
        progress: progress(flags.quiet),
        cancel: context.cancel.clone(),
    };
    let outcome = context.runtime.block_on(async {
        let references = if flags.all_tags {
            let tags = puller.registry.tags(reference.repository()).await?;
            let tags = tags.iter().map(|tag| reference.with_tag(tag));
            tags.collect::<Result<Vec<_>, _>>()?
        } else {
            vec![reference.clone().or_latest()]
        };
        for one in references {
            let outcome = puller.pull(&one).await?;
            tell(&one, &outcome, platform.as_ref(), flags.quiet)?;
        }
        anyhow::Ok(())
    });
    context.close(&layers, outcome)?;
    let shown = if flags.all_tags {
        reference.repository().to_string()
    } else {
        reference.or_latest().to_string()
    };
    put(&format!("{shown}\n"))
}

/// What Docker says after a pull.
fn tell(
    reference: &Reference,
    pulled: &Pulled,
    wanted: Option<&Platform>,
    is_quiet: bool,
) -> anyhow::Result<()> {
    let name = reference.familiar();
    if !is_quiet {
        let status = if pulled.was_there {
            format!("Image is up to date for {name}")
        } else {
            format!("Downloaded newer image for {name}")
        };
        put(&format!("Digest: {}\nStatus: {status}\n", pulled.digest))?;
    }
    if let Some(wanted) = wanted.filter(|wanted| !wanted.runs_images_of(&pulled.platform)) {
        let mut stderr = std::io::stderr().lock();
        writeln!(
            stderr,
            "WARNING: image with reference {name} was found but its platform ({}) does not match \
             the specified platform ({wanted})",
            pulled.platform
        )?;
    }
    Ok(())
}

pub(super) fn parse_platform(text: &str) -> anyhow::Result<Platform> {
    Ok(text.parse::<Platform>()?)
}

pub(super) fn push(flags: &PushFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let reference = Reference::parse(&flags.name)?;
    if reference.is_name_only() && !flags.quiet {
        put(&format!("Using default tag: {DEFAULT_TAG}\n"))?;
    }
    context.heed_signals()?;
    let layers = context.open()?;
    let pusher = Pusher {
        layers: layers.clone(),
        registry: client(context)?,
        policy: policy(context),
        progress: progress(flags.quiet),
        cancel: context.cancel.clone(),
    };
    let outcome = context.runtime.block_on(pusher.push(&reference));
    context.close(&layers, outcome.map_err(Into::into))?;
    if flags.quiet {
        put(&format!("{}\n", reference.or_latest()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn search(flags: &SearchFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let filter = SearchFilter::new(&Filters::parse(&flags.filter, OF_SEARCH)?)?;
    let registry = client(context)?;
    let found = context
        .runtime
        .block_on(registry.search(&flags.term, flags.limit as usize))?;
    if found.method == SearchMethod::Catalogue {
        let mut stderr = std::io::stderr().lock();
        writeln!(
            stderr,
            "{} has no search: these are names from its catalogue, without descriptions or stars",
            found.domain
        )?;
    }
    let results: Vec<SearchResult> = found
        .rows
        .into_iter()
        .map(|row| SearchResult {
            name: field(&row.name),
            description: row.description,
            star_count: row.stars as i64,
            is_official: row.is_official,
            is_automated: row.is_automated,
        })
        .filter(|result| filter.lets_through(result))
        .collect();
    put(&words::write(
        &results,
        flags.no_trunc,
        flags.format.as_deref(),
    )?)
}

pub(super) fn login(flags: &LoginFlags, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let domain = flags.server.as_deref().unwrap_or(DEFAULT_DOMAIN);
    let file = credential_file()?;
    let ask = |what: &str| -> anyhow::Result<String> {
        if !std::io::stdin().is_terminal() {
            bail!("Cannot perform an interactive login from a non TTY device");
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{what}: ")?;
        out.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if flags.password_stdin && flags.username.is_none() {
        bail!("Must provide --username with --password-stdin");
    }
    let username = match &flags.username {
        Some(name) => name.clone(),
        None => ask("Username")?,
    };
    let password = if flags.password_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        match &flags.password {
            Some(password) => {
                let mut stderr = std::io::stderr().lock();
                writeln!(
                    stderr,
                    "WARNING! Using --password via the CLI is insecure. Use --password-stdin."
                )?;
                password.clone()
            }
            None => super::secret::ask("Password", ask)?,
        }
    };
    let credential = Credential::Password { username, password };
    let settings = settings(context);
    context
        .runtime
        .block_on(log_in(&settings, &file, domain, credential))?;
    put(&format!("{LOGIN_SUCCEEDED}\n"))
}

pub(super) fn logout(server: Option<&str>, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let file = credential_file()?;
    let domain = server.unwrap_or(DEFAULT_DOMAIN);
    let line = context.runtime.block_on(log_out(&file, domain))?;
    put(&format!("{line}\n"))
}

fn credential_file() -> anyhow::Result<CredentialFile> {
    CredentialFile::of_user().context("there is no home directory; set DOCKER_CONFIG")
}
