//! All routes of the process become one router: the phones' way, the API, the pages.

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::callers::{CSRF_HEADER, SESSION_COOKIE};
use super::guard::Guard;
use super::{Problem, static_web};
use crate::access::Access;
use crate::config::{Config, HttpConfig, WebConfig};
use std::sync::Arc;

/// Largest body of a request, unless its route says otherwise, bytes.
const MAX_BODY: usize = 256 * 1024;

/// What a router is made of.
pub struct Site {
    /// The phones' uploads: they bound their bodies and times themselves, and pass few layers.
    pub uploads: OpenApiRouter,
    /// Everything else that the document describes.
    pub api: OpenApiRouter,
    /// Who is asking.
    pub access: Arc<Access>,
    /// Whether pages show the strip of the demo.
    pub demo: static_web::DemoFlag,
}

/// One router out of all parts, with the document at `/v1/openapi.json`.
pub fn assemble(site: Site, config: &Config, public_url: &str) -> Router {
    let http = &config.http;
    let (uploads, uploads_document) = site.uploads.split_for_parts();
    let (api, api_document) = site.api.split_for_parts();
    let document = Arc::new(document(uploads_document, api_document));

    let guard = Guard::new(site.access);
    let uploads = uploads.layer(guard.clone());
    // What is answered to one caller is nobody else's, and some of it is shown once.
    let no_store = HeaderValue::from_static("no-store");
    let api = api.layer(SetResponseHeaderLayer::if_not_present(
        header::CACHE_CONTROL,
        no_store,
    ));
    let openapi = get(move || async move { Json(&*document).into_response() });
    let served = Router::new()
        .route("/v1/openapi.json", openapi)
        .merge(api)
        .merge(static_web::routes(config, site.demo))
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_that_way)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(guard.within(Duration::from_secs(http.request_timeout_s)))
        .layer(compression(CompressionLevel::Default));
    let served = with_cors(served, http);
    with_security_headers(served, &config.web, public_url).merge(uploads)
}

/// Compresses answers for those who take it, but what is compressed by its nature.
pub fn compression(level: CompressionLevel) -> CompressionLayer<impl Predicate> {
    let parquet = NotForContentType::const_new("application/vnd.apache.parquet");
    CompressionLayer::new()
        .quality(level)
        .compress_when(DefaultPredicate::new().and(parquet))
}

/// What a port of its own for phones' uploads serves: as [`Site::uploads`], and nothing else.
pub fn phones_port(uploads: Router, access: Arc<Access>) -> Router {
    uploads.layer(Guard::new(access))
}

/// The whole API as one OpenAPI 3.1 document.
#[must_use]
pub fn document(uploads: OpenApi, api: OpenApi) -> OpenApi {
    let mut document = uploads;
    document.merge(api);
    document.info = InfoBuilder::new()
        .title("Waylog")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Delivery-location tracking. Errors are application/problem+json; lists are paged by \
             limit and cursor; a POST that creates may bear an Idempotency-Key.",
        ))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(
        "api_key",
        bearer("An API key: admin, dispatcher or analyst"),
    );
    components.add_security_scheme("device", bearer("A phone's device token"));
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
    let basic = basic.description(Some("Courier id and the device token of one of its phones"));
    components.add_security_scheme("device_basic", SecurityScheme::Http(basic.build()));
    components.add_security_scheme("link", bearer("The token of a tracking link"));
    let cookie = ApiKeyValue::with_description(
        SESSION_COOKIE,
        "A signed-in browser; changes need the header X-CSRF-Token as well",
    );
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    document
}

async fn nothing_there(uri: Uri) -> Response {
    if ["/v1/", "/ws/"]
        .iter()
        .any(|prefix| uri.path().starts_with(prefix))
    {
        return Problem::not_found("this route").into_response();
    }
    static_web::not_found()
}

async fn not_that_way() -> Problem {
    let detail = "this route has no such method; /v1/openapi.json lists those that there are";
    Problem::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        detail,
    )
}

fn with_cors(router: Router, http: &HttpConfig) -> Router {
    if http.cors_origins.is_empty() {
        return router;
    }
    let origins = http
        .cors_origins
        .iter()
        .filter_map(|origin| HeaderValue::try_from(origin).ok());
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods(methods)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static(CSRF_HEADER),
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER]);
    router.layer(layer)
}

fn with_security_headers(router: Router, web: &WebConfig, public_url: &str) -> Router {
    let mut headers = vec![
        (
            header::CONTENT_SECURITY_POLICY,
            content_security_policy(web),
        ),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::X_FRAME_OPTIONS, "DENY".to_owned()),
        (
            HeaderName::from_static("permissions-policy"),
            "geolocation=(self), camera=(), microphone=()".to_owned(),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin".to_owned(),
        ),
    ];
    if public_url.starts_with("https://") {
        headers.push((
            header::STRICT_TRANSPORT_SECURITY,
            "max-age=31536000".to_owned(),
        ));
    }
    headers.into_iter().fold(
        router,
        |router, (name, value)| match HeaderValue::try_from(value) {
            Ok(value) => router.layer(SetResponseHeaderLayer::if_not_present(name, value)),
            Err(_) => router,
        },
    )
}

/// Everything from here, nothing inline; a basemap or a logo from elsewhere is let in by its origin.
fn content_security_policy(web: &WebConfig) -> String {
    let origin = |url: &Option<String>| {
        let (scheme, rest) = url.as_deref()?.split_once("://")?;
        let host = rest
            .split('/')
            .next()
            .filter(|host| !host.contains([';', ',', ' ', '\'']))?;
        Some(format!(" {scheme}://{host}"))
    };
    let map = origin(&web.basemap).unwrap_or_default();
    let logo = origin(&web.brand_logo_url).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: \
         blob:{map}{logo}; worker-src 'self' blob:; connect-src 'self'{map}; font-src 'self'{map}; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}
