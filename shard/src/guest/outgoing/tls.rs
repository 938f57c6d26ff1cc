//! TLS with the root certificates of the system, or those that `SSL_CERT_FILE` names.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use super::client::Failed;
use crate::rt;

/// The shard's TLS settings, made at first use: reading the certificates takes milliseconds.
#[derive(Default)]
pub(super) struct Tls(OnceCell<TlsConnector>);

impl Tls {
    /// The handshake over `stream`.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, Failed> {
        let connector = self
            .0
            .get_or_try_init(async || rt::unblock(connector).await)
            .await
            .map_err(|reason| {
                Failed::logged(
                    Error::ConfigurationError,
                    format!("outgoing request: {reason}"),
                )
            })?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failed::from(Error::HttpRequestUriInvalid))?;
        connector.connect(name, stream).await.map_err(|error| {
            Failed::logged(
                of_tls(&error),
                format!("outgoing request to {host}: TLS: {error}"),
            )
        })
    }
}

/// What a guest is told when a handshake fails.
fn of_tls(error: &std::io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    }
}

fn connector() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(
            "this system has no root certificates for TLS; install the package ca-certificates, or set \
             SSL_CERT_FILE"
                .into(),
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
