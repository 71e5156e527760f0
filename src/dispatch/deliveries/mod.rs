//! Deliveries: what they are made of (`body.rs`), their SQL (`store.rs`), create, read, replace, list
//! (`routes.rs`), many at once (`bulk.rs`), and the steps they take (`steps.rs`).

pub(super) mod body;
pub(super) mod bulk;
pub(super) mod routes;
pub(super) mod steps;
pub(super) mod store;
