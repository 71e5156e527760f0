//! Couriers from a CSV file: all of them or none.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Dispatch;
use super::couriers::{Tag, tags_of};
use crate::directory::Table;
use crate::domain::{CourierId, Vehicle};
use crate::http::{AsDispatcher, Problem, Text};

/// Most couriers of one file.
const MAX_COURIERS: usize = 5_000;
/// Largest file, bytes.
pub(super) const MAX_BODY: usize = 4 << 20;

/// A line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: CourierId,
    #[serde(default)]
    name: Option<Text<200>>,
    #[serde(default)]
    phone: Option<Text<40>>,
    #[serde(default)]
    vehicle: Option<Vehicle>,
    /// Separated by semicolons.
    #[serde(default)]
    tags: Option<String>,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    /// Couriers that are new.
    created: usize,
    /// Couriers that there were, whose fields are now the file's.
    updated: usize,
}

/// Create or update couriers from a CSV file, all of them or none.
///
/// UTF-8, first line `id,name,phone,vehicle,tags` (only `id` is needed, any order); tags are separated
/// by semicolons. An empty field of a courier that exists is emptied; a column that the file has not
/// got is left alone. A refusal names the line.
#[utoipa::path(post, path = "/v1/couriers/import", tag = "couriers",
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = Imported), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn couriers(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Imported>, Problem> {
    const UPSERT: &str = "insert into dispatch.courier as c (id, name, phone, vehicle, tags) \
         values ($1, $2, $3, $4, $5) on conflict (id) do update set \
            name = case when $6 then excluded.name else c.name end, \
            phone = case when $7 then excluded.phone else c.phone end, \
            vehicle = case when $8 then excluded.vehicle else c.vehicle end, \
            tags = case when $9 then excluded.tags else c.tags end, \
            version = c.version + 1, updated_at = now() \
         returning xmax = 0";
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/csv")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_csv",
            "the body must be CSV, with the header Content-Type: text/csv",
        ));
    }
    let file = parse(&body)?;
    let columns = file.columns;
    let has = |name: &str| columns.iter().any(|column| column == name);
    let mut change = dispatch.change(&staff).await?;
    let mut imported = Imported {
        created: 0,
        updated: 0,
    };
    for (number, line) in file.lines {
        let named = |problem: Problem| problem.about(&format!("line {number}"));
        let tags = line.tags.as_deref().unwrap_or_default();
        let tags = tags.split(';').map(str::trim).filter(|tag| !tag.is_empty());
        let tags: Result<Vec<Tag>, _> = tags.map(Tag::try_from).collect();
        let tags = tags.map_err(|error| named(Problem::invalid(format!("tags: {error}"))))?;
        let tags = tags_of(Some(tags)).map_err(named)?;
        let is_new: bool = sqlx::query_scalar(UPSERT)
            .bind(line.id.as_str())
            .bind(line.name.map(Text::into_string))
            .bind(line.phone.map(Text::into_string))
            .bind(line.vehicle.map(Vehicle::as_str))
            .bind(tags)
            .bind(has("name"))
            .bind(has("phone"))
            .bind(has("vehicle"))
            .bind(has("tags"))
            .fetch_one(change.sql())
            .await?;
        *if is_new {
            &mut imported.created
        } else {
            &mut imported.updated
        } += 1;
        change.touch(Table::Courier, &line.id);
    }
    let counts = json!({"created": imported.created, "updated": imported.updated});
    change.audit("courier.import", "", counts).await?;
    change.commit().await?;
    Ok(Json(imported))
}

/// A file that was read.
struct File {
    columns: csv::StringRecord,
    /// With their numbers.
    lines: Vec<(u64, Line)>,
}

fn parse(body: &[u8]) -> Result<File, Problem> {
    // Spreadsheets begin a file with a byte order mark.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(body);
    let unreadable = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        Problem::invalid(format!("line {line}: {error}"))
    };
    let headers = reader.headers().map_err(unreadable)?.clone();
    if !headers.iter().any(|column| column == "id") {
        let detail = "line 1: the first line names the columns: id,name,phone,vehicle,tags";
        return Err(Problem::invalid(detail));
    }
    let mut lines = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(unreadable)? {
        if lines.len() == MAX_COURIERS {
            let detail = format!("at most {MAX_COURIERS} couriers in one file: send several");
            return Err(Problem::invalid(detail));
        }
        let number = record.position().map_or(0, csv::Position::line);
        let line: Line = record.deserialize(Some(&headers)).map_err(|error| {
            let field = match error.kind() {
                csv::ErrorKind::Deserialize { err, .. } => {
                    let column = err
                        .field()
                        .and_then(|at| headers.get(usize::try_from(at).ok()?));
                    let column = column.map_or_else(String::new, |column| format!("{column}: "));
                    format!("{column}{}", err.kind())
                }
                _ => error.to_string(),
            };
            Problem::invalid(format!("line {number}: {field}"))
        })?;
        lines.push((number, line));
    }
    if lines.is_empty() {
        return Err(Problem::invalid("there is no courier in the file"));
    }
    Ok(File {
        columns: headers,
        lines,
    })
}
