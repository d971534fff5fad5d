//! Ending connections from inside of a dispatcher.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_messenger::event::{Env, ManualEnv};
use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName, EntityType};
use async_messenger::{
    Connection, ConnectionEvent, Dispatcher, Handled, Messenger, Policy, Workers,
};

use super::peers::{Recorder, builder, localhost};
use super::{ping, suite_config};

const ROUNDS: usize = 1000;
/// Rounds in a row in which nothing may arrive.
const SILENT_MAX: usize = 3;

/// Marks another connection than the sender's down, after a while, with its lock held. The
/// handlers of resets take the same lock.
struct MarkDown {
    connections: Mutex<Vec<Connection>>,
    count: AtomicUsize,
    random: ManualEnv,
}

impl MarkDown {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        let locked = self.connections.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher for MarkDown {
    fn dispatch(&self, connection: &Connection, _: Message) -> Handled {
        let mut connections = self.lock();
        self.count.fetch_add(1, Ordering::SeqCst);
        if !connections.contains(connection) {
            connections.push(connection.clone());
        }
        if connections.len() >= 2
            && let Some(at) = connections.iter().position(|other| other != connection)
        {
            let other = connections.swap_remove(at);
            // Holds the lock for a while: what the original does, to make a deadlock likely.
            std::thread::sleep(Duration::from_micros(self.random.random() % 500));
            other.mark_down();
        }
        Handled::Yes
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        if matches!(
            event,
            ConnectionEvent::Reset { .. } | ConnectionEvent::RemoteReset { .. }
        ) {
            self.lock().retain(|other| other != connection);
        }
    }
}

fn start(name: EntityName, workers: &Arc<Workers>, dispatcher: Arc<dyn Dispatcher>) -> Messenger {
    let messenger = builder(name)
        .config(suite_config())
        .workers(workers)
        .require_authorizer(false)
        .default_policy(match name.kind {
            EntityType::OSD => Policy::stateless_server(0),
            _ => Policy::lossy_client(0),
        })
        .build()
        .expect("made");
    messenger.add_dispatcher_tail(dispatcher).expect("new");
    messenger
}

/// Two servers share a dispatcher that ends connections of both; 1000 times. A round in which a
/// message is lost is fine, as its connection may be the one that was ended; a deadlock would be
/// the end of all rounds.
#[test]
fn behaviour_18_mark_down_from_inside_dispatch() {
    let workers = Workers::start(&suite_config()).expect("start");
    let random = ManualEnv::new(18);
    let dispatcher = Arc::new(MarkDown {
        connections: Mutex::default(),
        count: AtomicUsize::new(0),
        random,
    });
    let servers = [0, 1].map(|num| {
        let server = start(EntityName::osd(num), &workers, Arc::clone(&dispatcher) as _);
        let addrs = server.bind(&localhost()).expect("a free port");
        server.start().expect("starts");
        (server, addrs)
    });
    let (recorder, inbox) = Recorder::new(false, false);
    let client = start(EntityName::client(-1), &workers, recorder);
    client.start().expect("starts");

    let mut silent = 0;
    for round in 0..ROUNDS {
        let before = dispatcher.count.load(Ordering::SeqCst);
        let pinged = [0, 1].map(|at: usize| ping_to(&client, &servers[at].1));
        let count = rise(&dispatcher.count, before + 2, &pinged);
        silent = if count == before { silent + 1 } else { 0 };
        assert!(silent <= SILENT_MAX, "nothing arrives since {round}");
        inbox.0.try_iter().for_each(drop);
    }
    client.shutdown();
    client.wait().expect("ends in time");
    for (server, _) in servers {
        server.shutdown();
        server.wait().expect("ends in time");
        assert_eq!(server.stats().dispatch_queue, 0);
    }
    dispatcher.lock().clear();
}

fn ping_to(client: &Messenger, addrs: &AddrVec) -> Connection {
    let connection = client.connect(EntityType::OSD, addrs).expect("connects");
    // It may be ended at this moment.
    let _ = connection.send(ping());
    connection
}

/// Waits up to a second for the count to rise so far, and says how far it has. A message whose
/// connection is closed may be lost, so it is not waited for.
fn rise(count: &AtomicUsize, to: usize, pinged: &[Connection]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(1);
    while count.load(Ordering::SeqCst) < to
        && !pinged.iter().any(Connection::is_closed)
        && Instant::now() < deadline
    {
        std::thread::yield_now();
    }
    count.load(Ordering::SeqCst)
}
