//! Which parts of Waylog this process is.

/// A part that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes uploads from phones.
    Ingest,
    /// Shows couriers to customers and dispatchers.
    LiveMap,
    /// Stores every fix in Postgres, and answers queries.
    Analytics,
    /// Judges rules and sends webhooks.
    Notifications,
    /// Couriers, deliveries, keys, pages.
    Dispatch,
}

/// The roles of a process; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// These roles; none named means all.
    #[must_use]
    pub fn of(named: impl Iterator<Item = Role>) -> Self {
        let mut roles: Vec<Role> = named.collect();
        if roles.is_empty() {
            roles = Self::all().0;
        }
        Self(roles)
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![
            Role::Ingest,
            Role::LiveMap,
            Role::Analytics,
            Role::Notifications,
            Role::Dispatch,
        ])
    }

    /// Whether this process has `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}
