//! What every told delivery looks at.

use std::sync::Arc;

use super::messages::Brand;
use crate::directory::Directory;
use crate::live_map::state::LiveState;
use crate::live_map::visibility::Rules;
use crate::roads::Roads;

/// The Directory, where everybody is, the roads, and the rules.
pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) state: Arc<LiveState>,
    pub(crate) roads: Roads,
    pub(crate) rules: Rules,
    pub(crate) brand: Brand,
}
