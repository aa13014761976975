//! Logging in and out.

use super::answer::Refusal;
use super::authorization::{Authorizer, Scope};
use super::credentials::{Credential, CredentialFile, Credentials, Kept};
use super::settings::Settings;
use super::transport::{Request, Transport};
use crate::{ImageError, Result};

/// What is said after a login.
pub const LOGIN_SUCCEEDED: &str = "Login Succeeded";

/// Asks the registry whether the credential is good, and keeps it if so.
///
/// A registry that asks for no credentials takes any, as Docker has it.
pub async fn login(
    settings: &Settings,
    file: &CredentialFile,
    domain: &str,
    credential: Credential,
) -> Result<Kept> {
    let authorizer = Authorizer::new(Credentials::fixed(domain, credential.clone()));
    let transport = Transport::new(settings, authorizer)?;
    let endpoint = settings.endpoint(domain);
    let request = Request::get(&endpoint, "/v2/", Scope::None);
    match transport.send(&request).await? {
        Ok(_) => {}
        Err(refusal) => return Err(refused(refusal)),
    }
    let (file, domain) = (file.clone(), domain.to_owned());
    strata_driver::blocking(move || Ok(file.store(&domain, &credential))).await?
}

fn refused(refusal: Refusal) -> ImageError {
    if !matches!(refusal.status, 401 | 403) {
        return refusal.into();
    }
    ImageError::Unauthorized {
        message: refusal.text_or("unauthorized: authentication required"),
        url: refusal.url,
    }
}

/// Forgets the credential of a registry, and gives the line that says so.
pub async fn logout(file: &CredentialFile, domain: &str) -> Result<String> {
    let (file, name) = (file.clone(), domain.to_owned());
    let was_there = strata_driver::blocking(move || Ok(file.erase(&name))).await??;
    if was_there {
        return Ok(format!("Removing login credentials for {domain}"));
    }
    Ok(format!("Not logged in to {domain}"))
}
