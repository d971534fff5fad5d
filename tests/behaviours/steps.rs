//! An interceptor that tests steer: it holds steps up until the test decides, and counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use async_messenger::Connection;
use async_messenger::inject::{Intercept, Intercepted, Interceptor, Step};

use super::peers::DEADLINE;

#[derive(Default)]
pub(crate) struct Steps {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Steps that hold up whoever comes to them.
    stops: BTreeSet<Step>,
    /// Who is held up, until a decision is there.
    held: Vec<Held>,
    decisions: BTreeMap<u64, Intercept>,
    arrivals: u64,
    counts: BTreeMap<(u64, Step), usize>,
}

struct Held {
    ticket: u64,
    step: Step,
    connection: Option<Connection>,
}

impl Steps {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, who comes to this step is held up.
    pub(crate) fn stop_at(&self, step: Step) {
        self.state().stops.insert(step);
    }

    /// Waits until somebody is held up at this step, and returns its connection, if it has one.
    pub(crate) fn wait_for(&self, step: Step) -> Option<Connection> {
        let nobody = |state: &mut State| !state.held.iter().any(|held| held.step == step);
        let waited = self
            .changed
            .wait_timeout_while(self.state(), DEADLINE, nobody);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "nobody came to {step:?}");
        let held = state.held.iter().find(|held| held.step == step);
        held.and_then(|held| held.connection.clone())
    }

    /// Decides for whoever is held up at this step, and holds nobody up there any more.
    pub(crate) fn decide(&self, step: Step, decision: Intercept) {
        let mut state = self.state();
        state.stops.remove(&step);
        let (decided, held) = std::mem::take(&mut state.held)
            .into_iter()
            .partition::<Vec<_>, _>(|held| held.step == step);
        assert!(!decided.is_empty(), "nobody is held up at {step:?}");
        state.held = held;
        let tickets = decided.iter().map(|held| (held.ticket, decision));
        state.decisions.extend(tickets);
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn go_on(&self, step: Step) {
        self.decide(step, Intercept::Continue);
    }

    /// How often a connection has come to a step.
    pub(crate) fn count(&self, connection: &Connection, step: Step) -> usize {
        let state = self.state();
        state
            .counts
            .get(&(connection.id(), step))
            .copied()
            .unwrap_or(0)
    }
}

impl Interceptor for Steps {
    fn step(&self, at: &Intercepted<'_>, step: Step) -> Intercept {
        let mut state = self.state();
        // 0 is nobody's number.
        let id = at.connection.map_or(0, Connection::id);
        *state.counts.entry((id, step)).or_default() += 1;
        if !state.stops.contains(&step) {
            return Intercept::Continue;
        }
        state.arrivals += 1;
        let ticket = state.arrivals;
        state.held.push(Held {
            ticket,
            step,
            connection: at.connection.cloned(),
        });
        self.changed.notify_all();
        let undecided = |state: &mut State| !state.decisions.contains_key(&ticket);
        // Longer than the test waits for anything, so that a test that failed still ends.
        let waited = self
            .changed
            .wait_timeout_while(state, 2 * DEADLINE, undecided);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let decision = state.decisions.remove(&ticket);
        decision.unwrap_or(Intercept::Fail)
    }
}
