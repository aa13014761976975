//! TLS: whom we trust, and that what began with TLS stays with it.

use crate::{noise, settings};
use futures_util::StreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strata_image::Repository;
use strata_image::document::{Descriptor, Platform};
use strata_image::registry::{Credential, CredentialFile, OciRegistry, Registry, Settings, Which};
use strata_image::testing::{Access, FakeRegistry, Fault};
use strata_store::Digest;

/// Makes an authority and a certificate of it for 127.0.0.1.
const MAKE_CERTIFICATES: &str = r"
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -keyout ca.key -out ca.pem -subj /CN=authority
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -keyout key.pem -out request.pem -subj /CN=registry
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > extensions
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
    -extfile extensions -out cert.pem
";

/// Speaks TLS for a registry that does not. It ends when dropped.
struct Front {
    host: String,
    authority: Vec<u8>,
    is_over: Arc<AtomicBool>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl Front {
    /// Starts one, or prints why there is none.
    fn of(registry: &FakeRegistry) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("sh")
            .args(["-c", MAKE_CERTIFICATES])
            .current_dir(directory.path())
            .output()
            .unwrap();
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            eprintln!("skipped: `openssl` made no certificates: {said}");
            return None;
        }
        let read = |name: &str| fs_err::read(Path::new(directory.path()).join(name)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(&read("cert.pem")).unwrap()],
                PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let is_over = Arc::new(AtomicBool::new(false));
        let (ends, behind) = (Arc::clone(&is_over), registry.host());
        let server = std::thread::spawn(move || {
            let config = Arc::new(config);
            for connection in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                // A client that does not trust us goes away, which is what is tested.
                drop(pass_on(connection.unwrap(), Arc::clone(&config), &behind));
            }
        });
        Some(Self {
            host,
            authority: read("ca.pem"),
            is_over,
            server: Some(server),
        })
    }

    /// For `registry.example`, which is nowhere, the front is asked.
    fn settings(&self) -> Settings {
        settings().with_mirror("registry.example", format!("https://{}", self.host))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.host));
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

/// A repository on a registry that is nowhere.
fn repository() -> Repository {
    "registry.example/a/b".parse().unwrap()
}

fn pass_on(
    connection: TcpStream,
    config: Arc<rustls::ServerConfig>,
    behind: &str,
) -> std::io::Result<()> {
    let session = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut front = rustls::StreamOwned::new(session, connection);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        front.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut back = TcpStream::connect(behind)?;
    back.write_all(&head)?;
    let mut answer = Vec::new();
    back.read_to_end(&mut answer)?;
    front.write_all(&answer)?;
    front.conn.send_close_notify();
    front.flush()
}

#[tokio::test]
async fn only_a_trusted_authority_is_talked_to() {
    let fake = crate::fake();
    fake.add_image("a/b", "1", &Platform::host(), &[]);
    let Some(front) = Front::of(&fake) else {
        return;
    };
    let which = Which::Tag("1".to_owned());
    let stranger = OciRegistry::new(front.settings(), None).unwrap();
    // The mirror is passed over, and the registry itself does not exist.
    let error = stranger.manifest(&repository(), &which).await.unwrap_err();
    assert!(error.to_string().contains("registry.example"), "{error}");
    assert!(fake.requests().is_empty());

    let settings = front.settings().with_certificates(&front.authority);
    let friend = OciRegistry::new(settings, None).unwrap();
    friend.manifest(&repository(), &which).await.unwrap();
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn tls_is_not_left_by_a_redirect() {
    let (fake, plain) = (crate::fake(), crate::fake());
    let blob = fake.add_blob("", &noise(1000));
    plain.add_blob("", &noise(1000));
    let Some(front) = Front::of(&fake) else {
        return;
    };
    let to = format!("http://{}/v2/a/b/blobs/{}", plain.host(), blob.digest);
    fake.fail("/blobs/", Fault::Redirect(to), usize::MAX);
    let settings = front.settings().with_certificates(&front.authority);
    let registry = OciRegistry::new(settings, None).unwrap();
    assert!(registry.blob(&repository(), &blob, 0).await.is_err());
    assert_eq!(fake.requests().len(), 1);
    assert!(plain.requests().is_empty());
}

/// Neither credentials nor the blob go out in the clear because a registry wants them to, not
/// even to this machine.
#[tokio::test]
async fn tls_is_not_left_by_an_upload() {
    let (fake, plain) = (crate::fake(), crate::fake());
    fake.allow(Access::Basic("ann", "secret"));
    let Some(front) = Front::of(&fake) else {
        return;
    };
    // The same host in a spelling that is not known for loopback.
    let domain = front.host.replace("127.0.0.1", "127.1");
    let repository: Repository = format!("{domain}/a/b").parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = CredentialFile::at(directory.path().join("config.json"));
    let credential = Credential::Password {
        username: "ann".into(),
        password: "secret".into(),
    };
    file.store(&domain, &credential).unwrap();
    let settings = settings().with_certificates(&front.authority);
    let push = async |settings: Settings| {
        let registry = OciRegistry::new(settings, Some(file.clone())).unwrap();
        let bytes = noise(1000);
        let blob = Descriptor::new("", Digest::of(&bytes), 1000);
        let source = futures_util::stream::once(async { Ok(bytes.into()) });
        registry
            .push_blob(&repository, &blob, source.boxed(), None)
            .await
    };
    // Of the registry too, if it is asked for what lies behind TLS without it.
    for host in [&plain.host(), &front.host, &fake.host()] {
        let location = format!("http://{host}/v2/a/b/blobs/uploads/1");
        let opened = Fault::Status(202, vec![("Location", location)], String::new());
        fake.fail("POST ", opened, 1);
        let error = push(settings.clone()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("`{host}` without TLS")), "{error}");
    }
    assert!(plain.requests().is_empty());
    assert_eq!(fake.count("PUT "), 0);

    let location = format!("http://{}/v2/a/b/blobs/uploads/1", plain.host());
    let opened = Fault::Status(202, vec![("Location", location)], String::new());
    fake.fail("POST ", opened, 1);
    push(settings.with_insecure(plain.host())).await.unwrap();
    let seen = plain.requests();
    assert!(
        seen.len() == 1 && seen[0].authorization.is_none(),
        "{seen:?}"
    );
}

#[tokio::test]
async fn certificates_that_are_none_are_refused() {
    let broken = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    let settings = settings().with_certificates(broken);
    let error = OciRegistry::new(settings, None).unwrap_err();
    assert!(error.to_string().starts_with("certificates: "), "{error}");
}
