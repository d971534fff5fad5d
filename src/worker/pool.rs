//! The pool: how many threads, on which transport, and how others reach them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{Cmd, Worker};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::event::{Env, EventCenter, Handle, SubmitError, SystemEnv};
use crate::messenger::{Latch, Shared};
use crate::net::{Stack, TcpStack};

/// How other threads know a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    /// Unique in the process.
    pub(super) id: u64,
    /// Links and sessions that it has.
    pub(super) load: Arc<AtomicUsize>,
    /// Counts the choices that were made in its pool, if it is the first one there.
    choices: Arc<AtomicUsize>,
    pub(super) inbox: Handle<Cmd>,
}

impl WorkerHandle {
    pub(crate) fn post(&self, cmd: Cmd) {
        match self.inbox.submit(cmd) {
            Ok(()) => {}
            // The pool has ended, and with it whatever the command was about.
            Err(SubmitError::Closed(Cmd::Shutdown(shared, latch))) => let_go(&shared, &latch),
            Err(SubmitError::Closed(cmd)) => drop(cmd),
            Err(SubmitError::Full(cmd)) => {
                tracing::error!("a command is lost: the worker's inbox is full");
                if let Cmd::Shutdown(shared, latch) = cmd {
                    let_go(&shared, &latch);
                }
            }
        }
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {} with load {}",
            self.id,
            self.load.load(Ordering::Relaxed)
        )
    }
}

/// Threads that run the connections of one or more messengers.
///
/// A messenger makes its own unless it is given one by
/// [`Builder::workers`](crate::messenger::Builder::workers). Dropping the last reference ends the
/// threads.
pub struct Workers {
    handles: Arc<[WorkerHandle]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stack: Arc<dyn Stack>,
    env: Arc<dyn Env>,
    driver: &'static str,
}

impl Workers {
    /// Starts [`Config::workers`](Config) threads for TCP connections on
    /// [`Config::driver`](Config).
    ///
    /// # Errors
    /// If the configuration is invalid, the driver was not compiled in or cannot be opened, or a
    /// thread cannot be started.
    pub fn start(config: &Config) -> Result<Arc<Self>, Error> {
        let stack = Arc::new(TcpStack::new(config.driver).strict(config.driver_strict));
        Self::start_on(config, stack, Arc::new(SystemEnv))
    }

    /// Starts threads on a transport, a clock and randomness of your own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<Arc<Self>, Error> {
        let system = |e: io::Error| Error::io(ErrorKind::System, e);
        let (workers, states) = Self::assemble(config, stack, env)?;
        let spin = config.spin;
        for (i, worker) in states.into_iter().enumerate() {
            let thread = std::thread::Builder::new()
                .name(format!("msgr-worker-{i}"))
                .spawn(move || worker.run(spin))
                .map_err(system)?;
            workers.threads().push(thread);
        }
        Ok(Arc::new(workers))
    }

    /// A pool without threads: the caller runs the turns.
    #[cfg(feature = "sim")]
    pub(crate) fn stepped(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<(Arc<Self>, Vec<Worker>), Error> {
        let (workers, states) = Self::assemble(config, stack, env)?;
        Ok((Arc::new(workers), states))
    }

    fn assemble(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<(Self, Vec<Worker>), Error> {
        config.validate().map_err(Error::misuse)?;
        let mut centers = Vec::new();
        for _ in 0..config.workers {
            let driver = stack.driver();
            let driver = driver.map_err(|e| Error::io(ErrorKind::System, e))?;
            centers.push(EventCenter::new(driver, Arc::clone(&env)));
        }
        let driver = centers[0].driver_name();
        let handles: Arc<[WorkerHandle]> = centers.iter().map(WorkerHandle::new).collect();
        let states = centers
            .into_iter()
            .enumerate()
            .map(|(i, center)| Worker::new(center, i, &handles, &stack, config.receive_buffer))
            .collect();
        let workers = Self {
            handles,
            threads: Mutex::default(),
            stack,
            env,
            driver,
        };
        Ok((workers, states))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Never: there is at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// The name of the driver they run on.
    #[must_use]
    pub fn driver_name(&self) -> &'static str {
        self.driver
    }

    pub(crate) fn stack(&self) -> &Arc<dyn Stack> {
        &self.stack
    }

    pub(crate) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    pub(crate) fn least_loaded(&self) -> &WorkerHandle {
        least_loaded(&self.handles)
    }

    pub(crate) fn post_to_all(&self, cmd: impl Fn() -> Cmd) {
        self.handles.iter().for_each(|worker| worker.post(cmd()));
    }

    /// Whether the calling thread is one of them.
    pub(crate) fn is_worker_thread(&self) -> bool {
        let me = std::thread::current().id();
        self.threads()
            .iter()
            .any(|thread| thread.thread().id() == me)
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.post_to_all(|| Cmd::Stop);
        let me = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads()) {
            // A worker that drops the last reference itself ends when it gets to its `Stop`.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("driver", &self.driver)
            .field("handles", &self.handles)
            .finish_non_exhaustive()
    }
}

impl WorkerHandle {
    pub(super) fn new(center: &EventCenter<Cmd>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            load: Arc::default(),
            choices: Arc::default(),
            inbox: center.handle(),
        }
    }
}

/// This worker has nothing of a messenger any more. The last one stops the dispatch queue: all
/// events are in it now.
pub(super) fn let_go(shared: &Shared, latch: &Latch) {
    latch.arrive(|| shared.queue.stop());
}

pub(super) fn least_loaded(handles: &[WorkerHandle]) -> &WorkerHandle {
    let load = |worker: &&WorkerHandle| worker.load.load(Ordering::Relaxed);
    // Equals take turns: what was given to one a moment ago counts only when it has got to it, and
    // otherwise all of a burst would go to the first.
    let turn = handles[0].choices.fetch_add(1, Ordering::Relaxed);
    let (before, after) = handles.split_at(turn % handles.len());
    let in_turn = after.iter().chain(before);
    in_turn.min_by_key(load).unwrap_or(&handles[0])
}
