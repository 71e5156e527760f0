//! The frames themselves: sockets and streams of events send what [`TrackSession::next`] gives,
//! polling what `snapshot_now` gives.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::history::History;
use super::{DELIVERIES, Event, event, in_sight, on_board, roads, settings};
use crate::config::Config;
use crate::directory::{Directory, Link, TokenHash};
use crate::live_map::state::LiveState;
use crate::live_map::test_kit::T0;
use crate::live_map::track::topic::Told;
use crate::live_map::track::{Brand, TrackSession, Tracks, World};
use crate::live_map::visibility::Rules;

/// Customers of every delivery, and the world that they look at.
struct Stage {
    directory: Arc<Directory>,
    state: Arc<LiveState>,
    tracks: Arc<Tracks>,
    sessions: Vec<TrackSession>,
    history: History,
    /// Positions and routes that were shown at all: a test that shows nothing proves nothing.
    shown: usize,
    routes: usize,
}

impl Stage {
    fn new(coarse: bool) -> Self {
        let directory = Directory::new();
        let state = Arc::new(LiveState::default());
        let config = Config::defaults().expect("defaults");
        let world = World {
            directory: directory.clone(),
            state: state.clone(),
            roads: roads(),
            rules: Rules::new(&settings(coarse)),
            brand: Brand::new(&config.web),
        };
        let history = History::begin(coarse, &directory);
        (0..DELIVERIES).for_each(|n| directory.put_link(link(n)));
        let mut stage = Self {
            directory,
            state,
            tracks: Arc::new(Tracks::new(world, 1)),
            sessions: Vec::new(),
            history,
            shown: 0,
            routes: 0,
        };
        stage.sessions = (0..DELIVERIES).map(|n| stage.join(n)).collect();
        stage
    }

    fn join(&self, n: usize) -> TrackSession {
        let joined = self.tracks.join(Arc::new(link(n)), None, self.history.now);
        joined.expect("room for a viewer")
    }

    fn happen(&mut self, event: &Event) {
        self.history.happen(event, &self.directory, &self.state);
        if let Event::Reload { delivery: n } = *event {
            self.sessions[n] = self.join(n);
        }
        self.tracks.wake_all();
    }

    /// Looks through everything that customers are sent now.
    fn look(&mut self) -> Result<(), TestCaseError> {
        let now = self.history.now;
        for n in 0..DELIVERIES {
            let mut texts = Vec::new();
            let told = self.sessions[n].next(now, |told| {
                if let Told::Frame(text, _) = told {
                    texts.push(text.as_str().to_owned());
                }
            });
            let gone = self.history.is_gone(n);
            prop_assert_eq!(told.is_err(), gone);
            let topic = self.tracks.topic(&link(n).delivery_id);
            match topic.snapshot_now(&self.tracks.world, now) {
                Ok(polled) => texts.push(polled),
                Err(_) => prop_assert!(gone),
            }
            for text in &texts {
                let found = self.history.check(n, text)?;
                self.shown += usize::from(found.position);
                self.routes += usize::from(found.route);
            }
        }
        Ok(())
    }
}

fn link(n: usize) -> Link {
    Link {
        id: Uuid::from_u128(n as u128),
        delivery_id: format!("d-{n}").as_str().try_into().expect("an id"),
        expires_at: T0.plus_ms(i64::MAX / 2),
        token_hash: TokenHash([n as u8; 32]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_customer_is_told_a_position_outside_the_rules(
        coarse in prop::bool::weighted(0.3),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut stage = Stage::new(coarse);
        on_board().for_each(|event| stage.happen(&event));
        stage.look()?;
        for event in &events {
            stage.happen(event);
            stage.look()?;
        }
    }
}

/// The property would hold for a map that shows nothing: a plain history must show the courier.
#[test]
fn what_the_rules_allow_is_told() {
    for coarse in [false, true] {
        let mut stage = Stage::new(coarse);
        on_board().for_each(|event| stage.happen(&event));
        for event in in_sight() {
            stage.happen(&event);
        }
        stage.look().expect("all within the rules");
        assert!(stage.shown >= 2, "the courier is neither told nor polled");
        let way_shown = stage.routes >= 1;
        assert_eq!(way_shown, !coarse, "the way ahead");
    }
}
