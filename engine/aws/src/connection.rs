//! From the standard AWS chain to clients: region, profile, credentials, endpoint.

use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use super::Error;
use super::failure::{causes, no_credentials};
use pixel_engine_core::config::{self, Connection, Stream};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is for, as far as finding the way matters.
pub(super) struct Target<'a> {
    /// What messages call it.
    pub(super) name: String,
    /// The region in its name.
    pub(super) region: Option<&'a str>,
    /// Whether an ARN may stand in place of its name.
    pub(super) takes_arn: bool,
}

impl<'a> From<&'a Stream> for Target<'a> {
    fn from(stream: &'a Stream) -> Target<'a> {
        Target { name: stream.to_string(), region: stream.region(), takes_arn: true }
    }
}

/// The configuration of clients for that target.
pub(super) async fn configuration(connection: &Connection, target: impl Into<Target<'_>>) -> Result<SdkConfig, Error> {
    let Target { name: target, region, takes_arn } = target.into();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(connection.request_timeout);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .app_name(AppName::new("pixel-engine").expect("a valid name"))
        .timeout_config(timeouts.build())
        // Delivery retries: the SDK would send a whole request again, with the records that had
        // arrived.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &connection.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(config::Credentials { access_key_id, secret_access_key }) = &connection.credentials {
        let keys = Credentials::new(access_key_id, secret_access_key.as_str(), None, None, "given");
        loader = loader.credentials_provider(keys);
    }
    if let Some(region) = connection.region.as_deref().or(region) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let mut configuration = loader.load().await;
    if let Some(url) = connection.endpoint_url.as_deref().or(configuration.endpoint_url()) {
        check_endpoint(url, &target)?;
    }
    if configuration.region().is_none() {
        return Err(Error::NoRegion { target, takes_arn });
    }
    if let Some(profile) = &connection.profile {
        // Before the environment's keys, as in the AWS CLI: whoever names a profile means it.
        let region = configuration.region().cloned();
        let chain = ProviderConfig::without_region().with_region(region).with_http_client(http);
        let provider = ProfileFileCredentialsProvider::builder().configure(&chain).profile_name(profile).build();
        // The provider's own words leave out which profile it is about.
        if let Err(error) = provider.provide_credentials().await {
            let failure = Box::new(no_credentials(format!("profile `{profile}`: {}", causes(&error))));
            return Err(Error::Credentials { target, failure });
        }
        configuration = with_credentials(configuration, provider);
    }
    if let Some(role) = &connection.role_arn {
        let provider = AssumeRoleProvider::builder(role).session_name("pixel-engine").configure(&configuration);
        let provider = provider.build().await;
        configuration = with_credentials(configuration, provider);
    }
    Ok(configuration)
}

/// Why that can be no endpoint; without the URL, which may have a password in it.
fn check_endpoint(url: &str, target: &str) -> Result<(), Error> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| Error::EndpointScheme { target: target.to_owned() })?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(Error::EndpointPassword { target: target.to_owned() });
    }
    Ok(())
}

fn with_credentials(configuration: SdkConfig, provider: impl ProvideCredentials + 'static) -> SdkConfig {
    configuration.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Puts `body` in place of what the SDK made of an empty list of records, before it is signed.
pub(super) fn send_instead(body: Vec<u8>) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let body = SdkBody::from(body);
    move |request| {
        let body = body.try_clone().expect("it is in memory");
        let len = body.content_length().expect("it is in memory");
        request.headers_mut().insert("content-length", len.to_string());
        *request.body_mut() = body;
    }
}
