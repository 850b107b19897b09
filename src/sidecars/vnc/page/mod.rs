//! The page that shows a desktop in a browser. It is ours and in the program; noVNC, which it uses, is in a folder.

use std::{
    env,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    extract::{Path as Captured, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The file of noVNC that our script loads.
const ENTRY: &str = "core/rfb.js";

/// Scripts and styles are files of this server alone. noVNC makes images of what it decodes.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                                       connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const EVERYWHERE: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // A browser asks whether its copy is still good: a new version must not meet old scripts.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The page, and where noVNC is.
#[derive(Debug, Clone)]
pub struct Page {
    folders: Arc<[PathBuf]>,
}

impl Page {
    /// The page, with noVNC from this folder; without one, from where the image or `make web` puts it.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        let folders = folder.map_or_else(usual_folders, |folder| vec![folder]);
        Self { folders: folders.into() }
    }

    /// `/`, which is also what `/vnc.html` leads to, what it loads, and noVNC below `/novnc/`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(async |headers: HeaderMap| own("text/html; charset=utf-8", INDEX, &headers)))
            // Where people look who know noVNC's own page.
            .route("/vnc.html", get(to_the_page))
            .route("/page.js", get(async |headers: HeaderMap| own("text/javascript; charset=utf-8", SCRIPT, &headers)))
            .route("/page.css", get(async |headers: HeaderMap| own("text/css; charset=utf-8", STYLE, &headers)))
            .route("/novnc/{*path}", get(novnc))
            .with_state(self.clone())
    }

    /// What to do about it if noVNC is in none of its folders.
    #[must_use]
    pub fn lack(&self) -> Option<String> {
        let is_here = self.folders.iter().any(|folder| folder.join(ENTRY).is_file());
        (!is_here).then(|| self.missing())
    }

    /// What to do where noVNC is not.
    fn missing(&self) -> String {
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        format!(
            "noVNC is not here. It was looked for in {}: use the image outrigger-desktop, run make web, or name its folder with VNC_WEB_FOLDER or --web-folder",
            folders.join(" and ")
        )
    }
}

/// Beside the program, and where images have it.
fn usual_folders() -> Vec<PathBuf> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join("novnc")));
    beside.into_iter().chain([PathBuf::from("/usr/share/outrigger/novnc")]).collect()
}

/// The page itself, with the same query. What comes after `#` the browser keeps.
async fn to_the_page(uri: Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // By a relative reference, since a proxy may show the desktop at a path of its own (RFC 9110, section 10.2.2).
    (StatusCode::FOUND, [(header::LOCATION, format!("./{query}"))]).into_response()
}

/// A file that is in the program.
fn own(content_type: &'static str, text: &'static str, headers: &HeaderMap) -> Response {
    answer(content_type, &version_of(text), text, headers)
}

/// What tells this text from any other (RFC 9110, section 8.8.3).
fn version_of(text: &str) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes())))
}

async fn novnc(State(page): State<Page>, Captured(path): Captured<String>, headers: HeaderMap) -> Response {
    let (Some(path), Some(content_type)) = (confined(&path), content_type(&path)) else { return StatusCode::NOT_FOUND.into_response() };
    for folder in &*page.folders {
        match read(&folder.join(path)).await {
            Ok((bytes, version)) => return answer(content_type, &version, bytes, &headers),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                tracing::warn!(%error, path = %folder.join(path).display(), "a file of the page can't be read");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        }
    }
    (StatusCode::NOT_FOUND, page.missing()).into_response()
}

/// A path that stays in its folder.
fn confined(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// Nothing but scripts is asked for, and licences are for people.
fn content_type(path: &str) -> Option<&'static str> {
    match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("js") => Some("text/javascript; charset=utf-8"),
        Some("txt") => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

/// What is in a file, and what tells this state of it from others.
async fn read(path: &Path) -> std::io::Result<(Vec<u8>, String)> {
    let metadata = tokio::fs::metadata(path).await?;
    let changed = metadata.modified().ok().and_then(|changed| changed.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let version = format!("\"{}-{}\"", changed.as_nanos(), metadata.len());
    Ok((tokio::fs::read(path).await?, version))
}

/// A file, unless the browser has this state of it (RFC 9110, section 13.1.2).
fn answer(content_type: &'static str, version: &str, body: impl IntoResponse, headers: &HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == version);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(EVERYWHERE.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(HeaderValue::from_str(version).map(|version| (header::ETAG, version)));
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(page: &Page, path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let response = page.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (parts.status, parts.headers, text)
    }

    fn with_novnc() -> (tempfile::TempDir, Page) {
        let folder = tempfile::tempdir().unwrap();
        let novnc = folder.path().join("novnc");
        std::fs::create_dir_all(novnc.join("core")).unwrap();
        std::fs::write(novnc.join("core/rfb.js"), "export default 1;").unwrap();
        std::fs::write(novnc.join("core/secret"), "secret").unwrap();
        std::fs::write(folder.path().join("outside.js"), "outside").unwrap();
        let page = Page::new(Some(novnc));
        (folder, page)
    }

    #[tokio::test]
    async fn every_file_comes_with_its_type_and_with_what_keeps_others_out() {
        let (_folder, page) = with_novnc();
        for (path, content_type) in
            [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css"), ("/novnc/core/rfb.js", "text/javascript")]
        {
            let (status, headers, text) = get(&page, path, None).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(content_type) && !text.is_empty());
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        }
    }

    #[tokio::test]
    async fn the_name_of_novncs_own_page_leads_to_ours_with_its_query() {
        let (_folder, page) = with_novnc();
        for (path, location) in [("/vnc.html", "./"), ("/vnc.html?token=a%20b&x=1", "./?token=a%20b&x=1")] {
            let (status, headers, _) = get(&page, path, None).await;
            assert_eq!((status, headers[header::LOCATION].to_str().unwrap()), (StatusCode::FOUND, location));
        }
    }

    #[tokio::test]
    async fn a_file_is_sent_once_until_it_changes() {
        let (folder, page) = with_novnc();
        for path in ["/page.js", "/novnc/core/rfb.js"] {
            let (_, headers, _) = get(&page, path, None).await;
            let version = headers[header::ETAG].to_str().unwrap();
            let (status, _, text) = get(&page, path, Some(version)).await;
            assert_eq!((status, text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
        }
        let (_, before, _) = get(&page, "/novnc/core/rfb.js", None).await;
        std::fs::write(folder.path().join("novnc/core/rfb.js"), "export default 22;").unwrap();
        let (status, _, text) = get(&page, "/novnc/core/rfb.js", before[header::ETAG].to_str().ok()).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "export default 22;"));
    }

    #[test]
    fn texts_of_the_same_length_are_told_apart() {
        assert_ne!(version_of("let pause = 500;"), version_of("let pause = 900;"));
        assert_eq!(version_of(SCRIPT), version_of(SCRIPT));
    }

    #[tokio::test]
    async fn nothing_but_scripts_of_the_folder_is_sent() {
        let (_folder, page) = with_novnc();
        for path in [
            "/novnc/core/secret",
            "/novnc/../outside.js",
            "/novnc/%2e%2e/outside.js",
            "/novnc/core/..%2f..%2foutside.js",
            "/novnc//etc/passwd",
        ] {
            assert_eq!(get(&page, path, None).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn where_novnc_is_not_the_page_says_how_to_get_it() {
        let page = Page::new(Some(PathBuf::from("/nonexistent/novnc")));
        let (status, _, text) = get(&page, "/novnc/core/rfb.js", None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(text.contains("/nonexistent/novnc") && text.contains("make web") && text.contains("VNC_WEB_FOLDER"), "{text}");
        assert_eq!(get(&page, "/", None).await.0, StatusCode::OK);
    }

    #[test]
    fn the_page_has_neither_scripts_nor_styles_in_it() {
        assert!(
            !INDEX.contains("style=") && !INDEX.contains("onclick") && INDEX.matches("<script").count() == 1 && !INDEX.contains("<style")
        );
    }
}
