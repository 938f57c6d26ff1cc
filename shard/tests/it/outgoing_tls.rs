//! Guests' calls over TLS: whose certificates are accepted.
//!
//! The root certificates come from the file that `SSL_CERT_FILE` names, and a process reads its
//! environment once. So each case is this test program again, with the variable set.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vyr_core::artifact::{Capabilities, Manifest};
use vyr_core::limits::ShardLimits;
use vyr_shard::ShardConfig;

use crate::support::*;

/// Where a case finds the server, and what it expects of the guest's answer and log.
const URL: &str = "VYR_TEST_TLS_URL";
const ANSWER: &str = "VYR_TEST_TLS_ANSWER";
const LOG: &str = "VYR_TEST_TLS_LOG";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// What a server of this name shows.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they belong together");
        // A client that speaks more than HTTP/1.1 would choose the other one.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn start(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // A client that does not trust it goes away.
            std::thread::spawn(move || serve(stream, config));
        }
    });
    address
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let is_http1 = stream.get_ref().conn.alpn_protocol() == Some(b"http/1.1");
        let status = if is_http1 { 200 } else { 400 };
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok")?;
        stream.flush()?;
    }
}

/// Runs one case in a process of its own.
fn expect(roots: &Path, url: &str, answer: &str, log: &str) {
    let program = std::env::current_exe().expect("this program");
    let done = Command::new(program)
        .args(["--exact", "--ignored", "--nocapture", "outgoing_tls::case"])
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .envs([(URL, url), (ANSWER, answer), (LOG, log)])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{url}: {said}\n{errors}");
    assert!(said.contains("1 passed"), "it ran: {said}");
}

#[test]
fn only_certificates_of_known_authorities_are_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let known = dir.path().join("known.pem");
    std::fs::write(&known, &authority.pem).expect("a file");
    let address = start(authority.server("127.0.0.1"));
    let url = format!("https://{address}/");
    expect(&known, &url, "status 200, 2 bytes", "");

    let other = dir.path().join("other.pem");
    std::fs::write(&other, Authority::new().pem).expect("a file");
    expect(
        &other,
        &url,
        "TlsCertificateError",
        "invalid peer certificate",
    );

    let misnamed = start(authority.server("other.example"));
    let misnamed = format!("https://{misnamed}/");
    expect(
        &known,
        &misnamed,
        "TlsCertificateError",
        "invalid peer certificate",
    );

    let none = dir.path().join("none.pem");
    std::fs::write(&none, "").expect("a file");
    expect(&none, &url, "ConfigurationError", "ca-certificates");
}

#[test]
#[ignore = "only_certificates_of_known_authorities_are_accepted runs it, with settings"]
fn case() {
    let [url, answer, log] =
        [URL, ANSWER, LOG].map(|name| std::env::var(name).expect("the case's settings"));
    let named = url.trim_start_matches("https://").trim_end_matches('/');
    let config = ShardConfig {
        outgoing_hosts: vec![named.parse().expect("a host")],
        ..config(ShardLimits::default())
    };
    on_each_executor_with(config, async |shard| {
        let manifest = Manifest {
            capabilities: Capabilities {
                outgoing_hosts: vec![named.to_owned()],
                ..Capabilities::default()
            },
            ..Manifest::default()
        };
        let probe = adopt(&shard, "probe.wasm", manifest).await;
        // Twice: the second call is on the same connection.
        for _ in 0..2 {
            let task = run(&shard, submit(&shard, probe, &["fetch", &url])).await;
            let (got, said) = (output(&task), task.logs());
            let said = String::from_utf8_lossy(&said);
            assert!(got.contains(&answer), "{got}");
            assert!(said.contains(&log), "{said}");
        }
    });
}
