//! How a phone begins: links and QR codes that configure its app, and codes to join once.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_qr::convert::Builder;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use super::devices::{self, must_exist};
use super::write::{Change, Created};
use crate::access::{AccessError, IssuedSecret, SecretKind, hash_secret};
use crate::domain::{CourierId, SpeedUnit, UnixMs};
use crate::http::{ApiJson, ApiPath, AsDispatcher, ClientAddr, Creating, Problem, Text};

/// How long a code to join or to sign in is good, milliseconds.
pub(super) const CODE_VALID_MS: i64 = 15 * 60 * 1000;
/// White around a QR code, modules: what its standard asks for.
const QR_MARGIN: usize = 4;

/// Links that configure apps, and the same as QR codes (SVG).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Onboarding {
    /// `native`, `osmand`, `owntracks`, `join`.
    links: BTreeMap<&'static str, String>,
    /// `osmand`, `owntracks`, `join`.
    qr: BTreeMap<&'static str, String>,
}

/// Links and codes of a new phone.
pub(super) fn of(
    dispatch: &Dispatch,
    courier: &CourierId,
    token: &str,
    code: &IssuedSecret,
) -> Onboarding {
    let mut links = links_of(dispatch, courier, token);
    links.insert("join", join_url(dispatch, code));
    let pictures = links.iter().filter(|(app, _)| **app != "native");
    let qr = pictures
        .filter_map(|(app, link)| Some((*app, picture(link)?)))
        .collect();
    Onboarding { links, qr }
}

fn links_of(
    dispatch: &Dispatch,
    courier: &CourierId,
    token: &str,
) -> BTreeMap<&'static str, String> {
    let osmand = format!("{}?id={token}&{TRACCAR}", dispatch.url("/osmand"));
    BTreeMap::from([
        ("native", dispatch.url("/v1/positions")),
        ("osmand", osmand),
        ("owntracks", owntracks(dispatch, courier, token)),
    ])
}

fn join_url(dispatch: &Dispatch, code: &IssuedSecret) -> String {
    dispatch.url(&format!("/join/{}", code.secret))
}

/// How Traccar Client is to send: its own defaults, 300 s and 75 m, are far too coarse to follow a
/// delivery.
const TRACCAR: &str = "interval=5&distance=10&angle=30&accuracy=high&heartbeat=60&buffer=true";

/// A link that Traccar Client takes where it is opened on the phone itself; what it scans is the
/// server's address with the same pairs.
fn traccar(dispatch: &Dispatch, token: &str) -> String {
    let server = dispatch.url("/osmand");
    let server: String = form_urlencoded::byte_serialize(server.as_bytes()).collect();
    format!("org.traccar.client://config?url={server}&id={token}&{TRACCAR}")
}

/// A configuration that OwnTracks takes as a link.
fn owntracks(dispatch: &Dispatch, courier: &CourierId, token: &str) -> String {
    let configuration = json!({
        "_type": "configuration",
        "mode": 3,
        "url": dispatch.url("/owntracks"),
        "auth": true,
        "username": courier.as_str(),
        "password": token,
        "deviceId": "phone",
        "tid": &courier.as_str()[courier.as_str().len().saturating_sub(2)..],
        "monitoring": 2,
        "locatorInterval": 5,
        "locatorDisplacement": 10,
        "moveModeLocatorInterval": 5,
        "ping": 1,
    });
    let inline = STANDARD.encode(configuration.to_string());
    // '+', '/' and '=' mean something else in a query.
    let inline = inline
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("owntracks:///config?inline={inline}")
}

/// A vector picture, to be shown at any size.
fn picture(link: &str) -> Option<String> {
    let code = QRBuilder::new(link).ecl(ECL::M).build().ok()?;
    Some(SvgBuilder::default().margin(QR_MARGIN).to_str(&code))
}

/// Makes a code with which a phone joins as `courier`, who exists.
pub(super) async fn new_join_code(
    dispatch: &Dispatch,
    change: &mut Change,
    courier: &CourierId,
) -> Result<IssuedSecret, Problem> {
    const INSERT: &str = "insert into dispatch.one_time_code \
         (code_hash, kind, courier_id, expires_at) values ($1, 'join', $2, $3)";
    let code = dispatch.inner.chance.issue(SecretKind::OneTime);
    sqlx::query(INSERT)
        .bind(&code.hash.0[..])
        .bind(courier.as_str())
        .bind(dispatch.now().plus_ms(CODE_VALID_MS).to_datetime())
        .execute(change.sql())
        .await?;
    Ok(code)
}

/// A code to join, as a link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JoinCode {
    /// The code, good once.
    code: String,
    /// The page that a courier opens on the phone.
    url: String,
    /// The same as a QR code, SVG.
    qr: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

/// A new code, as its answer shows it.
pub(super) fn join_code_of(dispatch: &Dispatch, code: IssuedSecret) -> JoinCode {
    let url = join_url(dispatch, &code);
    JoinCode {
        qr: picture(&url),
        expires_at: dispatch.now().plus_ms(CODE_VALID_MS),
        url,
        code: code.secret,
    }
}

/// Nothing needs to be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Make a code with which a courier's phone joins, once, within 15 minutes.
#[utoipa::path(post, path = "/v1/couriers/{id}/join-codes", tag = "couriers",
    params(("id" = String, Path)),
    responses((status = 201, body = JoinCode), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create_join_code(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(courier): ApiPath<CourierId>,
    Creating { idempotent, .. }: Creating<Nothing>,
) -> Result<Response, Problem> {
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    must_exist(change.sql(), &courier).await?;
    let code = new_join_code(&dispatch, &mut change, &courier).await?;
    change
        .audit("join_code.create", courier.as_str(), json!({}))
        .await?;
    let body = join_code_of(&dispatch, code);
    let location = format!("/v1/couriers/{courier}/join-codes");
    change
        .created(Created {
            location,
            version: None,
            body,
        })
        .await
}

/// A code, and what the phone calls itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinBody {
    code: String,
    label: Option<Text<200>>,
}

/// A phone that has joined.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Joined {
    courier_id: String,
    courier_name: Option<String>,
    device_id: Uuid,
    /// The device token; shown this once.
    token: String,
    /// `native`, `osmand`, and what opens and configures an app on this very phone: `owntracks`,
    /// `traccar`.
    links: BTreeMap<&'static str, String>,
}

/// Join as a courier's phone with a code. The code is used up.
#[utoipa::path(post, path = "/v1/join", tag = "courier", request_body = JoinBody,
    responses((status = 201, body = Joined), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn join(
    State(dispatch): State<Dispatch>,
    ClientAddr(address): ClientAddr,
    ApiJson(body): ApiJson<JoinBody>,
) -> Result<Response, Problem> {
    const TAKE: &str = "delete from dispatch.one_time_code \
         where code_hash = $1 and kind = 'join' and expires_at > $2 returning courier_id";
    dispatch
        .inner
        .sign_in
        .check(address, "join")
        .map_err(too_often)?;
    let mut change = dispatch.change_by("a phone".to_owned(), "courier").await?;
    let courier: Option<String> = sqlx::query_scalar(TAKE)
        .bind(&hash_secret(&body.code).0[..])
        .bind(dispatch.now().to_datetime())
        .fetch_optional(change.sql())
        .await?;
    let courier = courier.and_then(|id| CourierId::try_from(id).ok());
    let courier = courier.ok_or(AccessError::Unauthorized)?;
    let label = body
        .label
        .map_or_else(|| "joined by code".to_owned(), Text::into_string);
    let unit = SpeedUnit::default();
    let (id, token) = devices::insert(&dispatch, &mut change, &courier, Some(&label), unit).await?;
    change
        .audit("device.join", courier.as_str(), json!({"device": id}))
        .await?;
    let name: Option<String> =
        sqlx::query_scalar("select name from dispatch.courier where id = $1")
            .bind(courier.as_str())
            .fetch_one(change.sql())
            .await?;
    let mut links = links_of(&dispatch, &courier, &token.secret);
    links.insert("traccar", traccar(&dispatch, &token.secret));
    let location = format!("/v1/couriers/{courier}/devices/{id}");
    let body = Joined {
        courier_id: courier.to_string(),
        courier_name: name,
        device_id: id,
        token: token.secret,
        links,
    };
    change
        .created(Created {
            location,
            version: None,
            body,
        })
        .await
}

/// 429.
pub(super) fn too_often(wait_s: u32) -> Problem {
    Problem::too_many("too many tries; wait before the next", wait_s)
}
