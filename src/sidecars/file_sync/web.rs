//! How the web is asked: in time, with a bound on what is read, and without a word of the answer in logs or errors.

use std::{fs, time::Duration};

use reqwest::{
    Certificate, Client, RequestBuilder, Response, StatusCode, Url,
    header::{ETAG, HeaderValue, IF_NONE_MATCH},
    redirect,
};

use super::settings::Web;

/// For the connection alone.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// More than any object can hold by itself: ten times.
const LONGEST_BODY: usize = 10 * 1024 * 1024;
const MOST_REDIRECTS: usize = 5;

/// Why the web did not give what was asked for. Addresses may hold secrets, so none are shown beyond their host.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    /// The authorities to trust can't be read.
    #[error("the certificates in REQ_CA_FILE {path} can't be read")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no answer.
    #[error("{host} does not answer")]
    Silent {
        /// Who was asked.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is a refusal.
    #[error("{host} answers {status}")]
    Refused {
        /// Who was asked.
        host: String,
        /// What was answered.
        status: StatusCode,
    },
    /// The answer is too long.
    #[error("{host} answers with more than {LONGEST_BODY} bytes")]
    TooLong {
        /// Who was asked.
        host: String,
    },
    /// The address is none of the web's.
    #[error("this is no address with http or https")]
    Address,
}

impl WebError {
    /// The status of a refusal.
    #[must_use]
    pub(super) const fn status(&self) -> Option<StatusCode> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }
}

/// A client. It is made when it is first needed: its certificates take memory.
///
/// # Errors
/// The authorities to trust can't be read.
pub(super) fn client(web: &Web, follow_redirects: bool) -> Result<Client, WebError> {
    let redirects = if follow_redirects { redirect::Policy::limited(MOST_REDIRECTS) } else { redirect::Policy::none() };
    let mut builder = Client::builder()
        .user_agent(concat!("outrigger/", env!("CARGO_PKG_VERSION")))
        .timeout(web.timeout)
        .connect_timeout(CONNECT_LIMIT.min(web.timeout))
        .redirect(redirects)
        .tls_danger_accept_invalid_certs(web.skip_tls_verify);
    if let Some(path) = &web.ca_file {
        let failed = |source| WebError::Authorities { path: path.clone(), source };
        let pem = fs::read(path).map_err(|error| failed(error.into()))?;
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.into()))?);
    }
    builder.build().map_err(|source| WebError::Silent { host: "the TLS library".to_owned(), source: source.without_url() })
}

/// The answer to a request, if it is a good one.
pub(super) async fn answer(request: RequestBuilder, url: &Url) -> Result<Response, WebError> {
    let response = request.send().await.map_err(|source| WebError::Silent { host: host(url), source: source.without_url() })?;
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(WebError::Refused { host: host(url), status }) }
}

/// Which version of its contents an address gave, in the words of its server, if it has any (RFC 9110, 8.8.3). A date would not do: it names all
/// versions of one second, and whoever goes back to an older one shows its older date.
pub(super) type Version = Option<HeaderValue>;

/// What an address holds.
#[derive(Debug)]
pub(super) enum Answer {
    /// These contents.
    Contents(Vec<u8>, Version),
    /// The contents of the version that was named.
    Unchanged,
}

/// Asks an address for its contents, unless they are of a version that is known.
pub(super) async fn fetch(client: &Client, address: &str, known: Version) -> Result<Answer, WebError> {
    let url = Url::parse(address.trim()).ok().filter(|url| ["http", "https"].contains(&url.scheme())).ok_or(WebError::Address)?;
    let (request, is_conditional) = (client.get(url.clone()), known.is_some());
    let request = known.into_iter().fold(request, |request, version| request.header(IF_NONE_MATCH, version));
    let mut response = match answer(request, &url).await {
        Err(WebError::Refused { status: StatusCode::NOT_MODIFIED, .. }) if is_conditional => return Ok(Answer::Unchanged),
        answered => answered?,
    };
    let version = response.headers().get(ETAG).cloned();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| WebError::Silent { host: host(&url), source: source.without_url() })? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_BODY {
            return Err(WebError::TooLong { host: host(&url) });
        }
    }
    Ok(Answer::Contents(body, version))
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
