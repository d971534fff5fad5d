//! Which thread runs what, and what may wait for what.
//!
//! # Threads
//!
//! | thread | how many | runs |
//! |---|---|---|
//! | `msgr-worker-N` | [`Config::workers`](crate::Config) for each pool of [`Workers`](crate::Workers) | sockets, handshakes, timers, fast dispatch, loop-back delivery |
//! | `ms_dispatch` | one for each started messenger | [`Dispatcher::dispatch`](crate::Dispatcher::dispatch) and [`Dispatcher::event`](crate::Dispatcher::event) |
//! | yours | | `bind`, `connect`, `send`, and the write of a message that finds its connection idle |
//!
//! A messenger makes its own workers unless the builder is given some; messengers that share a pool
//! ([`Builder::workers`](crate::Builder::workers)) share its threads and its driver, and nothing
//! else.
//!
//! A [`mon::Client`](crate::mon::Client) has no thread: it acts when its messenger dispatches
//! something, on yours when you ask, and by alarms on a worker.
//!
//! # What a dispatcher is called with
//!
//! | method | thread | promise |
//! |---|---|---|
//! | `fast_preprocess` | worker of the connection | every dispatcher sees every message, one connection's in the order of receiving, before it is dispatched |
//! | `can_fast_dispatch` | worker | a function of the head alone; asked for each message |
//! | `fast_dispatch` | worker of the connection | one connection: in order, one at a time. Several connections: at the same time |
//! | `fast_event` | worker of the connection | before any message of the connection |
//! | `accept_failed` | worker | a peer connected and did not get through the handshake |
//! | `dispatch` | `ms_dispatch` | one call at a time for each messenger; the messages of one connection and priority in the order of receiving |
//! | `event` | `ms_dispatch` | those of a messenger in order, and before messages with a priority below 255 that wait. No message of a connection comes behind its `Reset`, and none of the old session behind a `RemoteReset` |
//!
//! No lock of the crate is held during any of these. They may send, connect, mark down and shut
//! down; only [`Messenger::wait`](crate::Messenger::wait) is refused, as it would wait for itself.
//!
//! What runs on a worker must not block: all connections of that worker wait for it. Fast dispatch
//! is for short work, such as a heartbeat or handing a message to a channel of one's own.
//!
//! A message that a fast dispatcher takes may overtake one of the same connection that waits in the
//! dispatch queue. Between two messages of the same kind of dispatch and the same priority the
//! order is kept. What the dispatch queue takes next is said in session §6 of
//! [`wire`](super::wire).
//!
//! A handler that takes longer than [`Config::dispatch_warn_after`](crate::Config) is logged as a
//! warning and counted by [`Stats::slow_handlers`](crate::Stats): each call on the dispatch thread,
//! and on a worker all calls of one pass over what a connection has sent. One on the dispatch
//! thread that does not return is reported by a worker as soon as something arrives at the
//! messenger, or when the worker has been idle for half a minute.
//!
//! A panic in one of these is caught. The connection it was called for ends with
//! [`ErrorKind::Panicked`](crate::ErrorKind::Panicked), unless it was an event, which has nothing
//! to end; [`Stats::panics`](crate::Stats) counts them.
//!
//! # When a connection ends
//!
//! | cause | event | what the peer sees |
//! |---|---|---|
//! | an error, the peer's end of stream, a broken rule | `Reset`, with the error | end of stream |
//! | [`Connection::mark_down`](crate::Connection::mark_down) | none: whoever called knows | end of stream |
//! | the peer's CLOSE tag, which current Ceph does not send | `Reset` | end of stream |
//! | [`Messenger::shutdown`](crate::Messenger::shutdown) | `Reset`, with [`ErrorKind::MarkedDown`](crate::ErrorKind::MarkedDown) | end of stream |
//!
//! An attempt to connect that fails ends nothing: `Refused` tells why, and another one follows, until
//! somebody marks the connection down. The exceptions end with `Reset`: in version 1 a lossy
//! connection whose handshake failed, and in version 2 peers whose banners do not fit.
//!
//! A connection that has ended stays so: sending gives the message back, and a new one to the same
//! peer is made by [`Messenger::connect`](crate::Messenger::connect). Messages that were received
//! before the end and wait in the dispatch queue are dropped, as they are when the peer has lost
//! the session; [`Stats::discarded`](crate::Stats) counts them. So whoever must know that a message
//! was worked on waits for an answer before it ends the connection.
//!
//! # Who owns what
//!
//! | thing | owner | protection |
//! |---|---|---|
//! | event center, driver, timers, table of links | the worker | its thread only |
//! | link: reading half, incomplete input, decoder, handshake | the worker | its thread only |
//! | send queue and gate | session | mutex; the gate changes under it only |
//! | encoder, writing half, batch | session | mutex, taken by the one flusher that the gate elected, and by the worker when the link comes or goes |
//! | receive buffer | the worker | its thread; messages hold shared slices of it |
//! | table of sessions by address | messenger | mutex; on connect and at the end of a connection, never per message |
//! | own addresses | messenger | read-write lock; in handshakes |
//! | throttles | whoever shares them | atomics; a mutex for those who wait |
//! | dispatch queue | messenger | mutex and condition variable; taken for each item, and for the end of a connection |
//! | counters | messenger | relaxed atomics; single figures, no snapshot |
//!
//! # Lock order
//!
//! A thread that holds one of these may take those to the right of it, and no other:
//! *life cycle* → *table of sessions* → *encoder and writing half* → *send queue* → *waiters of a
//! throttle* → *inbox of an event center*. The lock of the dispatch queue is taken alone.
//!
//! A worker waits for another thread in one place for longer than a push takes: when a link goes it
//! takes the writing half's lock, and so lets a thread that is writing finish its share. These
//! writes do not block.
