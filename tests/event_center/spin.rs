//! Looking on before waiting, counted by a driver that lets time pass.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_messenger::event::{EventCenter, Handle, ManualEnv};
use async_messenger::{Event, EventDriver, Interest, Source, Token, Waker};

use crate::{Script, Seen, driver};

/// What a look costs.
const LOOK: Duration = Duration::from_micros(10);
const SPIN: Duration = Duration::from_micros(50);
const LOOKS: usize = 5;
const LONG: Duration = Duration::from_secs(7);

#[derive(Default)]
struct Log {
    looks: usize,
    waits: Vec<Duration>,
    /// The look at which this is posted, from 1.
    post: Option<(usize, Handle<u64>)>,
}

/// Never sleeps: what it should wait for has passed when it returns.
struct Clockwork {
    inner: Box<dyn EventDriver>,
    env: Arc<ManualEnv>,
    log: Arc<Mutex<Log>>,
}

impl EventDriver for Clockwork {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.add(source, token, interest)
    }
    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.rearm(token, interest)
    }
    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.disarm(token, interest)
    }
    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.inner.delete(token)
    }
    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut log = self.log.lock().expect("not poisoned");
        match timeout {
            Some(Duration::ZERO) => {
                log.looks += 1;
                self.env.advance(LOOK);
                let looks = log.looks;
                if let Some((_, handle)) = log.post.take_if(|(look, _)| *look == looks) {
                    handle.submit(9).expect("open");
                }
            }
            Some(limit) => {
                log.waits.push(limit);
                self.env.advance(limit);
            }
            None => panic!("for ever"),
        }
        drop(log);
        self.inner.wait(out, Some(Duration::ZERO))
    }
    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

fn center() -> (EventCenter<u64>, Arc<Mutex<Log>>) {
    let env = Arc::new(ManualEnv::new(1));
    let log = Arc::<Mutex<Log>>::default();
    let driver = Clockwork {
        inner: driver(),
        env: Arc::clone(&env),
        log: Arc::clone(&log),
    };
    let mut center = EventCenter::new(Box::new(driver), env);
    center.set_spin(SPIN);
    (center, log)
}

/// The looks and the waits of one turn.
fn turn(
    center: &mut EventCenter<u64>,
    log: &Mutex<Log>,
    script: &mut Script,
) -> (usize, Vec<Duration>) {
    center.turn(Some(LONG), script).expect("turns");
    let mut log = log.lock().expect("not poisoned");
    (
        std::mem::take(&mut log.looks),
        std::mem::take(&mut log.waits),
    )
}

#[test]
fn it_looks_for_as_long_as_it_may_and_then_waits_for_the_rest() {
    let (mut center, log) = center();
    let mut script = Script::silent();
    let rest = vec![LONG - SPIN];
    assert_eq!(turn(&mut center, &log, &mut script), (LOOKS, rest.clone()));
    // After one in vain, one wait begins at once.
    assert_eq!(turn(&mut center, &log, &mut script), (0, vec![LONG]));
    assert_eq!(turn(&mut center, &log, &mut script), (LOOKS, rest));
}

#[test]
fn what_is_posted_meanwhile_is_taken_without_a_wait() {
    let (mut center, log) = center();
    let mut script = Script::silent();
    for look in [1, 3, LOOKS] {
        log.lock().expect("not poisoned").post = Some((look, center.handle()));
        assert_eq!(turn(&mut center, &log, &mut script), (look, vec![]));
        assert_eq!(script.take(), [Seen::External(9)]);
    }
}

#[test]
fn a_timer_that_comes_due_meanwhile_is_not_late() {
    let (mut center, log) = center();
    let mut script = Script::silent();
    center.set_timer(center.now() + 2 * LOOK, 4);
    // Two of them found nothing; one more stands for the wait.
    assert_eq!(turn(&mut center, &log, &mut script), (3, vec![]));
    assert_eq!(script.take(), [Seen::Time(4)]);
}

#[test]
fn a_turn_that_must_not_wait_looks_once() {
    let (mut center, log) = center();
    let mut script = Script::silent();
    center
        .turn(Some(Duration::ZERO), &mut script)
        .expect("turns");
    assert_eq!(log.lock().expect("not poisoned").looks, 1);
}
