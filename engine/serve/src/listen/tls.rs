//! TLS with a certificate and a key from files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those that lead to it, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// A service cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error("the key does not fit the certificate {certificate}: {error}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// What the library says.
        #[source]
        error: rustls::Error,
    },
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Tls {
    /// Reads the files.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let in_file = |path: &PathBuf| {
            let path = path.clone();
            move |error: rustls::pki_types::pem::Error| TlsError::File { path, reason: error.to_string() }
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(in_file(&self.certificate))?;
        if certificates.is_empty() {
            let reason = "it holds no certificate in PEM".to_owned();
            return Err(TlsError::File { path: self.certificate.clone(), reason });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(in_file(&self.key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |error| TlsError::Pair { certificate: self.certificate.clone(), error };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
