//! What a registry says when it says no, and bodies that are read with a limit.

use crate::{ImageError, Result};
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use std::time::Duration;

/// Bytes of a refusal that are read.
const LONGEST_REFUSAL: u64 = 64 << 10;

/// Characters of a refusal without structure that are shown.
const LONGEST_TEXT: usize = 300;

/// The body of a refusal, as the distribution specification has it.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// The body of a refusal by Docker Hub's token server.
#[derive(Deserialize)]
struct Details {
    details: String,
}

/// A refusal, read.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) status: u16,
    /// The code of the first complaint, such as `MANIFEST_UNKNOWN`; empty if there is none.
    pub(crate) code: String,
    /// Code and message as Docker joins them: `manifest unknown: manifest unknown`.
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) async fn read(method: &'static str, response: Response) -> Self {
        let status = response.status().as_u16();
        let mut url = response.url().clone();
        // A redirect's query may be a signature that lets anybody in.
        url.set_query(None);
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            // A date is allowed too; who sends one is waited for as if it had sent nothing.
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        // Whatever goes wrong here, the status has said enough.
        let body = body(response, LONGEST_REFUSAL).await.unwrap_or_default();
        Self::of(method, url.into(), status, &body).later(retry_after)
    }

    pub(crate) fn of(method: &'static str, url: String, status: u16, body: &[u8]) -> Self {
        let (code, text) = words(body);
        Self {
            method,
            url,
            status,
            code,
            text,
            retry_after: None,
        }
    }

    fn later(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn is_too_many(&self) -> bool {
        self.status == 429 || self.code == "TOOMANYREQUESTS"
    }

    /// The text, or `otherwise` where the registry said nothing.
    pub(crate) fn text_or(&self, otherwise: &str) -> String {
        if self.text.is_empty() {
            return otherwise.to_owned();
        }
        self.text.clone()
    }
}

/// A refusal that has no better name.
impl From<Refusal> for ImageError {
    fn from(refusal: Refusal) -> Self {
        let is_too_many = refusal.is_too_many();
        let text = refusal.text_or("the registry wants fewer requests");
        let Refusal {
            method,
            url,
            status,
            retry_after,
            ..
        } = refusal;
        if is_too_many {
            let message = text
                .strip_prefix("toomanyrequests: ")
                .unwrap_or(&text)
                .to_owned();
            return Self::TooManyRequests {
                message,
                retry_after,
            };
        }
        let message = match refusal.text.as_str() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        Self::Status {
            method,
            url,
            status,
            message,
            retry_after,
        }
    }
}

/// Code and text of a refusal's body.
fn words(body: &[u8]) -> (String, String) {
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(body)
        && let Some(first) = envelope.errors.first()
    {
        let texts: Vec<String> = envelope.errors.iter().map(Complaint::text).collect();
        return (first.code.clone(), texts.join("; "));
    }
    if let Ok(Details { details }) = serde_json::from_slice(body) {
        return (String::new(), format!("unauthorized: {}", shown(&details)));
    }
    (String::new(), shown(&String::from_utf8_lossy(body)))
}

impl Complaint {
    /// As Docker prints it: the code in words, then the message.
    fn text(&self) -> String {
        let code = self.code.to_lowercase().replace('_', " ");
        let message = match (self.message.as_str(), &self.detail) {
            ("", serde_json::Value::String(detail)) => detail,
            (message, _) => message,
        };
        shown(&format!("{code}: {message}"))
    }
}

/// On one line, without control characters, and not endless: it is shown on terminals.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_TEXT)
        .collect()
}

/// The body, if it is not longer than `limit`.
pub(crate) async fn body(mut response: Response, limit: u64) -> Result<Bytes> {
    let url = response.url().to_string();
    let too_long = || ImageError::Protocol {
        url: url.clone(),
        what: format!("sent more than {limit} bytes"),
    };
    if response
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(too_long());
    }
    let mut bytes = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() as u64 + chunk.len() as u64 > limit => {
                return Err(too_long());
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes.freeze()),
            Err(error) => return Err(super::transport::broken(&url, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_docker_prints_them() {
        let said = |body: &str| words(body.as_bytes());
        let (code, text) = said(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
        );
        assert_eq!(
            (code.as_str(), text.as_str()),
            ("MANIFEST_UNKNOWN", "manifest unknown: manifest unknown")
        );
        let (_, text) = said(r#"{"details":"incorrect username or password"}"#);
        assert_eq!(text, "unauthorized: incorrect username or password");
        let (_, text) = said(r#"{"errors":[{"code":"TOOMANYREQUESTS","detail":"slow down"}]}"#);
        assert_eq!(text, "toomanyrequests: slow down");
        let (code, text) = said("<html>\n <b>\u{1b}[31mBad</b>\n");
        assert_eq!(
            (code.as_str(), text.as_str()),
            ("", "<html> <b>[31mBad</b>")
        );
        assert_eq!(said(r#"{"errors":[]}"#).1, r#"{"errors":[]}"#);
    }
}
