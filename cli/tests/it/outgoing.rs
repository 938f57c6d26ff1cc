//! Guests' calls over TLS, to a server with a certificate of the test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::support::*;

/// `openssl s_server`, which answers every GET with a page about the connection.
struct Server {
    port: u16,
    dir: tempfile::TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // An authority, and a certificate of it for the server.
        let request = |name: &str, subject: &str, more: &[&str]| {
            let made = Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ])
                .args(["-nodes", "-days", "2", "-subj", subject])
                .args([
                    "-keyout",
                    &format!("{name}-key.pem"),
                    "-out",
                    &format!("{name}.pem"),
                ])
                .args(more)
                .current_dir(dir.path())
                .output()
                .expect("openssl runs");
            assert!(made.status.success(), "{}", stderr(&made));
        };
        request("authority", "/CN=Test authority", &[]);
        let leaf = [
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority-key.pem",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=DNS:localhost",
        ];
        request("server", "/CN=localhost", &leaf);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("loopback")
            .port();
        let process = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-www",
                "-key",
                "server-key.pem",
                "-cert",
                "server.pem",
                "-accept",
                &port.to_string(),
            ])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        until("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, dir, process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a child");
    }
}

/// What the probe gets from the server, on a node that trusts these certificates.
fn fetch(server: &Server, certificates: &str, host: &str) -> (String, String) {
    let named = format!("{host}:{}", server.port);
    let node = Node::start_with(
        &["--outgoing-host", &named],
        &[("SSL_CERT_FILE", certificates)],
    );
    let manifest = node.dir.path().join("manifest.toml");
    std::fs::write(
        &manifest,
        format!("[capabilities]\noutgoing_hosts = [\"{named}\"]\n"),
    )
    .expect("written");
    let put = node.vyr(
        &[
            "artifact",
            "put",
            &guest("probe.wasm"),
            "--name",
            "probe",
            "--manifest",
            manifest.to_str().expect("UTF-8"),
        ],
        b"",
    );
    assert!(put.status.success(), "{}", stderr(&put));
    let answer = node.request(
        "GET",
        &format!("/run/probe/outgoing?url=https://{named}/"),
        &[],
        b"",
    );
    let task = answer.header("vyr-task-id").expect("a task").to_owned();
    let log = node.request("GET", &format!("/v0/tasks/{task}/logs"), &[], b"");
    (answer.text(), log.text())
}

#[test]
fn a_server_is_called_over_tls_only_if_its_certificate_is_trusted() {
    if !has("openssl") {
        return;
    }
    let server = Server::start();
    let trusted = server.dir.path().join("authority.pem");
    let trusted = trusted.to_str().expect("UTF-8");
    let (answer, log) = fetch(&server, trusted, "localhost");
    assert!(answer.starts_with("status 200, "), "{answer}{log}");
    // Not the name in its certificate.
    let (answer, log) = fetch(&server, trusted, "127.0.0.1");
    assert!(answer.contains("TlsCertificateError"), "{answer}");
    assert!(log.contains("certificate"), "{log}");
    // Another certificate is trusted.
    let other = Server::start();
    let others = other.dir.path().join("authority.pem");
    let (answer, _) = fetch(&server, others.to_str().expect("UTF-8"), "localhost");
    assert!(answer.contains("TlsCertificateError"), "{answer}");
}
