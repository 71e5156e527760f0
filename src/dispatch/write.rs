//! One change: a transaction, the entry in the audit log, and the Directory, in this order.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};

use super::Dispatch;
use crate::access::{Staff, audit};
use crate::directory::Table;
use crate::http::{Answer, Begun, Idempotent, Problem};

/// A change under way. Dropped without [`Change::commit`], nothing has happened.
pub(super) struct Change {
    dispatch: Dispatch,
    transaction: Transaction<'static, Postgres>,
    actor: String,
    role: &'static str,
    touched: Vec<(Table, String)>,
    idempotent: Option<Idempotent>,
}

/// What a request that creates is answered.
pub(super) struct Created<T> {
    /// Where it is now.
    pub(super) location: String,
    /// Its version, if it has one.
    pub(super) version: Option<i64>,
    pub(super) body: T,
}

impl Dispatch {
    /// Begins a change by `staff`.
    pub(super) async fn change(&self, staff: &Staff) -> Result<Change, Problem> {
        self.change_by(staff.name.to_string(), staff.role.as_str())
            .await
    }

    /// Begins a change by somebody who is not staff.
    pub(super) async fn change_by(
        &self,
        actor: String,
        role: &'static str,
    ) -> Result<Change, Problem> {
        let transaction = self.pool().begin().await?;
        Ok(Change {
            dispatch: self.clone(),
            transaction,
            actor,
            role,
            touched: Vec::new(),
            idempotent: None,
        })
    }

    /// Begins a change that creates. A request that was answered before, under the same
    /// Idempotency-Key, gets the same answer.
    pub(super) async fn creation(
        &self,
        staff: &Staff,
        idempotent: Option<Idempotent>,
    ) -> Result<Result<Change, Response>, Problem> {
        let mut change = self.change(staff).await?;
        if let Some(idempotent) = idempotent {
            match idempotent.begin(change.sql()).await? {
                Begun::Answered(response) => return Ok(Err(response)),
                Begun::Fresh => change.idempotent = Some(idempotent),
            }
        }
        Ok(Ok(change))
    }
}

impl Change {
    /// Where the change's SQL goes.
    pub(super) fn sql(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Who does it: the word of the role.
    pub(super) fn by(&self) -> &'static str {
        self.role
    }

    /// Remembers a row that the Directory must read again.
    pub(super) fn touch(&mut self, table: Table, id: impl ToString) {
        self.touched.push((table, id.to_string()));
    }

    /// Notes in the audit log what is done. `detail` never holds secrets, positions, phone numbers.
    pub(super) async fn audit(
        &mut self,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<(), Problem> {
        let by = (&*self.actor, self.role);
        audit(&mut *self.transaction, by, action, subject, detail).await?;
        Ok(())
    }

    /// Makes it last, and puts it into this process's Directory.
    pub(super) async fn commit(self) -> Result<(), Problem> {
        self.transaction.commit().await?;
        let touched: Vec<(Table, &str)> = self
            .touched
            .iter()
            .map(|(table, id)| (*table, id.as_str()))
            .collect();
        // It is done, whatever comes: a Directory that cannot read it now follows as soon as it can.
        if let Err(error) = self.dispatch.inner.sync.refresh(&touched).await {
            tracing::warn!(%error, "the directory lags behind a change");
        }
        Ok(())
    }

    /// Makes a creation last and answers 201; the answer is kept for the same Idempotency-Key.
    pub(super) async fn created<T: Serialize>(
        mut self,
        created: Created<T>,
    ) -> Result<Response, Problem> {
        let answer = Answer::created(created.location, created.version, &created.body)?;
        if let Some(idempotent) = self.idempotent.take() {
            idempotent.keep(self.sql(), &answer).await?;
        }
        self.commit().await?;
        Ok(answer.into_response())
    }
}
