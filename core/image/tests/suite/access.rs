//! Who is let in: challenges, credential files and programs, login and logout.

use crate::{client, fake, settings};
use std::os::unix::fs::PermissionsExt as _;
use strata_image::document::Platform;
use strata_image::registry::{
    Credential, CredentialFile, Kept, OciRegistry, Registry, Which, login, logout,
};
use strata_image::testing::{Access, FakeRegistry, Fault};

fn private(access: Access) -> FakeRegistry {
    let fake = fake();
    fake.add_image("a/b", "1", &Platform::host(), &[]);
    fake.allow(access);
    fake
}

fn file(content: &str) -> (tempfile::TempDir, CredentialFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    if !content.is_empty() {
        fs_err::write(&path, content).unwrap();
    }
    (directory, CredentialFile::at(path))
}

fn password(username: &str, password: &str) -> Credential {
    Credential::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    }
}

async fn pull(fake: &FakeRegistry, file: Option<CredentialFile>) -> Result<(), String> {
    let registry = OciRegistry::new(settings(), file).unwrap();
    let answer = registry
        .manifest(&fake.repository("a/b"), &Which::Tag("1".into()))
        .await;
    answer.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn stored_credentials_open_what_is_closed() {
    for access in [
        Access::Basic("ann", "se:cret"),
        Access::Token("ann", "se:cret"),
        Access::PrivateToken("ann", "se:cret"),
    ] {
        let fake = private(access.clone());
        let (_directory, file) = file("");
        file.store(&fake.host(), &password("ann", "se:cret"))
            .unwrap();
        assert_eq!(pull(&fake, Some(file)).await, Ok(()), "{access:?}");
    }
}

#[tokio::test]
async fn token_is_asked_for_once() {
    let fake = private(Access::Token("ann", "secret"));
    let registry = client();
    let repository = fake.repository("a/b");
    for _ in 0..3 {
        registry
            .manifest(&repository, &Which::Tag("1".into()))
            .await
            .unwrap();
    }
    assert_eq!(fake.count("/token"), 1);
    let token = &fake.requests()[1];
    assert_eq!(
        token.target,
        "/token?service=fake&scope=repository:a/b:pull"
    );
    assert_eq!(fake.count("/manifests/"), 4, "one refusal, and no more");
}

#[tokio::test]
async fn denied_pull_says_how_to_log_in() {
    for access in [
        Access::Basic("ann", "secret"),
        Access::PrivateToken("ann", "secret"),
    ] {
        let fake = private(access);
        assert_eq!(
            pull(&fake, None).await.unwrap_err(),
            format!(
                "pull access denied for {}/a/b, repository does not exist or may require \
                 'strata login': unauthorized: authentication required",
                fake.host()
            )
        );
    }
}

#[tokio::test]
async fn wrong_password_is_told_by_the_token_server() {
    let fake = private(Access::Token("ann", "secret"));
    let (_directory, file) = file("");
    file.store(&fake.host(), &password("ann", "wrong")).unwrap();
    assert_eq!(
        pull(&fake, Some(file)).await.unwrap_err(),
        format!(
            "Get \"http://{}/v2/\": unauthorized: incorrect username or password",
            fake.host()
        )
    );
}

#[tokio::test]
async fn token_server_that_fails_passes() {
    let fake = private(Access::Token("ann", "secret"));
    for fault in [
        Fault::Status(503, vec![], String::new()),
        Fault::CloseAfter(3),
    ] {
        fake.fail("/token", fault, 1);
        let error = client()
            .manifest(&fake.repository("a/b"), &Which::Tag("1".into()))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    fake.fail(
        "/token",
        Fault::Status(200, vec![], r#"{"token":"a\nb"}"#.into()),
        1,
    );
    let error = client()
        .manifest(&fake.repository("a/b"), &Which::Tag("1".into()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("empty or malformed token"),
        "{error}"
    );
}

#[tokio::test]
async fn identity_token_is_exchanged() {
    let fake = private(Access::PrivateToken("ann", "identity"));
    let (_directory, file) = file("");
    let token = Credential::IdentityToken("identity".to_owned());
    file.store(&fake.host(), &token).unwrap();
    assert_eq!(file.get(&fake.host()).unwrap(), Some(token));
    assert_eq!(pull(&fake, Some(file)).await, Ok(()));
    assert_eq!(fake.count("POST /token"), 1);
}

#[tokio::test]
async fn login_asks_first_and_keeps_the_rest_of_the_file() {
    let fake = private(Access::Basic("ann", "secret"));
    let host = fake.host();
    let rest = r#"{"psFormat":"x","auths":{"other.example":{"auth":"dTpw"}},"HttpHeaders":{"b":"1","a":"2"}}"#;
    let (_directory, file) = file(rest);
    let error = login(&settings(), &file, &host, password("ann", "wrong"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"http://{host}/v2/\": unauthorized: authentication required")
    );
    assert_eq!(
        fs_err::read_to_string(file.path()).unwrap(),
        rest,
        "nothing is kept"
    );

    let kept = login(&settings(), &file, &host, password("ann", "secret"))
        .await
        .unwrap();
    assert_eq!(kept, Kept::File(file.path().to_owned()));
    let text = fs_err::read_to_string(file.path()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["psFormat"], "x");
    assert_eq!(value["HttpHeaders"].to_string(), r#"{"b":"1","a":"2"}"#);
    assert_eq!(value["auths"]["other.example"]["auth"], "dTpw");
    assert_eq!(value["auths"][&host]["auth"], "YW5uOnNlY3JldA==");
    let mode = fs_err::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let entries = fs_err::read_dir(file.path().parent().unwrap()).unwrap();
    assert_eq!(entries.count(), 1, "no draft is left");

    let said = logout(&file, &host).await.unwrap();
    assert_eq!(said, format!("Removing login credentials for {host}"));
    assert_eq!(file.get(&host).unwrap(), None);
    assert!(file.get("other.example").unwrap().is_some());
    assert_eq!(
        logout(&file, &host).await.unwrap(),
        format!("Not logged in to {host}")
    );
}

#[tokio::test]
async fn login_of_a_token_server_is_checked_there() {
    let fake = private(Access::PrivateToken("ann", "secret"));
    let (_directory, file) = file("");
    let error = login(&settings(), &file, &fake.host(), password("ann", "no"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("unauthorized: incorrect username or password"),
        "{error}"
    );
    login(&settings(), &file, &fake.host(), password("ann", "secret"))
        .await
        .unwrap();
    assert!(file.get(&fake.host()).unwrap().is_some());
}

#[test]
fn entries_are_found_as_docker_writes_them() {
    let (_directory, file) = file(
        r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "https://a.example/v2/":{"auth":"YTpwdw=="},
            "b.example:5000":{"username":"b","password":"pw"},
            "c.example":{},
            "d.example":{"auth":"bm9jb2xvbg=="}
        }}"#,
    );
    let user = |domain: &str| match file.get(domain).unwrap() {
        Some(Credential::Password { username, .. }) => username,
        other => format!("{other:?}"),
    };
    assert_eq!(user("docker.io"), "hub");
    assert_eq!(user("a.example"), "a");
    assert_eq!(user("b.example:5000"), "b");
    assert_eq!(user("c.example"), "None");
    assert_eq!(user("b.example"), "None");
    let error = file.get("d.example").unwrap_err().to_string();
    assert!(error.contains("no base64 of USER:PASSWORD"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!(
        "{:?}",
        (
            password("ann", "secret"),
            Credential::IdentityToken("secret".into())
        )
    );
    assert!(!shown.contains("secret"), "{shown}");
}

/// A credential program that keeps what it is given in a file beside it.
const PROGRAM: &str = r#"#!/bin/sh
kept="$(dirname "$0")/kept"
case "$1" in
store) cat > "$kept" ;;
erase) rm "$kept" ;;
get) key="$(cat)"
    grep -q "\"$key\"" "$kept" 2>/dev/null && exec cat "$kept"
    echo "credentials not found in native keychain"; exit 1 ;;
esac
"#;

#[tokio::test]
async fn credential_program_is_asked_and_told() {
    for content in [
        r#"{"credsStore":"test"}"#,
        r#"{"credHelpers":{"HOST":"test"}}"#,
    ] {
        let fake = private(Access::Basic("ann", "se\"cret"));
        let host = fake.host();
        let (directory, file) = file(&content.replace("HOST", &host));
        let before = fs_err::read_to_string(file.path()).unwrap();
        let program = directory.path().join("docker-credential-test");
        fs_err::write(&program, PROGRAM).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = file.with_programs_in(directory.path());
        assert_eq!(file.get(&host).unwrap(), None);

        let credential = password("ann", "se\"cret");
        let kept = login(&settings(), &file, &host, credential.clone())
            .await
            .unwrap();
        assert_eq!(kept, Kept::Program("docker-credential-test".to_owned()));
        assert_eq!(file.get(&host).unwrap(), Some(credential));
        assert_eq!(pull(&fake, Some(file.clone())).await, Ok(()));
        file.store(&host, &Credential::IdentityToken("t".to_owned()))
            .unwrap();
        assert_eq!(
            file.get(&host).unwrap(),
            Some(Credential::IdentityToken("t".to_owned()))
        );
        assert!(logout(&file, &host).await.unwrap().starts_with("Removing"));
        assert_eq!(file.get(&host).unwrap(), None);
        assert_eq!(
            fs_err::read_to_string(file.path()).unwrap(),
            before,
            "no secret in the file"
        );
    }
}

#[test]
fn unusable_programs_and_files_are_named() {
    for (content, message) in [
        (
            r#"{"credsStore":"../../bin/sh"}"#,
            "is no name of a credential program",
        ),
        (
            r#"{"credsStore":"no-such-program"}"#,
            "docker-credential-no-such-program get",
        ),
        ("{", "credential file"),
        (r#"{"auths":[]}"#, ""),
    ] {
        let (_directory, file) = file(content);
        match file.get("r.example") {
            Ok(found) => assert_eq!((found, message), (None, "")),
            Err(error) => assert!(error.to_string().contains(message), "{error}"),
        }
    }
    let (_directory, file) = file(r#"{"auths":[]}"#);
    assert!(file.store("r.example", &password("a", "b")).is_err());
}
