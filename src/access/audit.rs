//! Who changed what, as it is kept. Read at `GET /v1/audit`.

use serde_json::Value;
use sqlx::PgExecutor;

use super::Staff;

/// Notes in the audit log what is done, best in the transaction that does it: by whom, with which
/// role, what (`noun.verb`), and about whom or what. `detail` never holds secrets, positions, phone
/// numbers.
///
/// # Errors
/// Postgres's.
pub async fn audit(
    sql: impl PgExecutor<'_>,
    (actor, role): (&str, &str),
    action: &str,
    subject: &str,
    detail: Value,
) -> sqlx::Result<()> {
    const NOTE: &str = "insert into dispatch.audit (actor, role, action, subject, detail) \
                        values ($1, $2, $3, $4, $5)";
    sqlx::query(NOTE)
        .bind(actor)
        .bind(role)
        .bind(action)
        .bind(subject)
        .bind(detail)
        .execute(sql)
        .await?;
    Ok(())
}

impl Staff {
    /// As [`audit`] wants to know it.
    #[must_use]
    pub fn actor(&self) -> (&str, &str) {
        (&self.name, self.role.as_str())
    }
}
