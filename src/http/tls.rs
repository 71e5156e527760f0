//! The server's own certificate: read at the start, and again whenever its files change.
//!
//! Invariant: a pair that cannot be used never replaces one that can; it is told, and the connections
//! go on under the old one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::TlsConfig;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is offered to callers. Cheap to clone; clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsConfig>,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

impl Tls {
    /// Reads the pair that the settings name; None where they name none.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, by its name.
    pub fn read(config: &TlsConfig) -> anyhow::Result<Option<Self>> {
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
            return Ok(None);
        };
        Ok(Some(Self {
            acceptor: Arc::new(RwLock::new(acceptor(cert, key)?)),
            files: Arc::new(config.clone()),
        }))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().clone()
    }

    /// Takes up renewed files, until `stop`.
    ///
    /// # Errors
    /// None: what cannot be used is told and tried again when it changes.
    pub async fn follow(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut seen = self.changed_at();
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let now = self.changed_at();
            if now != seen {
                seen = now;
                self.renew();
            }
        }
        Ok(())
    }

    fn renew(&self) {
        let (Some(cert), Some(key)) = (&self.files.cert, &self.files.key) else {
            return;
        };
        match acceptor(cert, key) {
            Ok(fresh) => {
                *self.acceptor.write() = fresh;
                tracing::info!(cert = %cert.display(), "the certificate was renewed");
            }
            Err(error) => {
                tracing::error!("the certificate stays the old one: {error:#}");
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.files.cert, &self.files.key]
            .map(|file| std::fs::metadata(file.as_ref()?).ok()?.modified().ok())
    }
}

fn acceptor(cert: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("http.tls.cert: cannot read {}", cert.display()))?;
    if chain.is_empty() {
        bail!(
            "http.tls.cert: {} holds no certificate in PEM form",
            cert.display()
        );
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("http.tls.key: cannot read {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            let (cert, key) = (cert.display(), key.display());
            format!("http.tls: the key in {key} does not belong to the certificate in {cert}")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(dir: &Path) -> TlsConfig {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        TlsConfig {
            cert: Some(cert),
            key: Some(key),
        }
    }

    #[test]
    fn a_pair_that_does_not_fit_is_refused_by_name_and_never_replaces_one_that_does() {
        let (mine, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (mine, other) = (mine.expect("a folder"), other.expect("a folder"));
        let (files, foreign) = (pair(mine.path()), pair(other.path()));
        let crossed = TlsConfig {
            key: foreign.key.clone(),
            ..files.clone()
        };
        let refused = Tls::read(&crossed).err().expect("refused");
        assert!(refused.to_string().contains("does not belong"), "{refused}");
        let swapped = TlsConfig {
            cert: files.key.clone(),
            key: files.key.clone(),
        };
        let refused = Tls::read(&swapped).err().expect("refused");
        assert!(refused.to_string().contains("no certificate"), "{refused}");
        let gone = TlsConfig {
            cert: Some("/nowhere/cert.pem".into()),
            ..files.clone()
        };
        let refused = Tls::read(&gone).err().expect("refused");
        assert!(
            refused.to_string().contains("/nowhere/cert.pem"),
            "{refused}"
        );

        let tls = Tls::read(&files).expect("read").expect("named");
        let before = Arc::clone(tls.acceptor().config());
        std::fs::copy(
            foreign.key.as_ref().expect("set"),
            files.key.as_ref().expect("set"),
        )
        .expect("copied");
        tls.renew();
        assert!(Arc::ptr_eq(&before, tls.acceptor().config()), "half a pair");
        std::fs::copy(
            foreign.cert.as_ref().expect("set"),
            files.cert.as_ref().expect("set"),
        )
        .expect("copied");
        tls.renew();
        assert!(!Arc::ptr_eq(&before, tls.acceptor().config()), "renewed");
    }
}
