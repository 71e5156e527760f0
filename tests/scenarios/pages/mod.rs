//! The pages in a real browser, against the real server.

mod customer;
mod dispatcher;
mod first_load;
mod fleet;
mod honesty;
mod looks;
mod states;
