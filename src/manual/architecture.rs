//! How the pieces fit.
//!
//! # Three ideas
//!
//! 1. **The protocol is plain data.** The state machines of [`proto`](crate::proto) are given bytes
//!    and decisions, and return bytes and events. They know no socket, clock, thread or lock, so a
//!    test can cut an exchange at every byte.
//! 2. **A session lives on one worker.** Its socket is read by that thread alone, so receiving
//!    needs no lock. What other threads want of it they post as a command.
//! 3. **Sending is "queue, then whoever finds the gate open flushes".** A message that is sent on
//!    an idle connection is written by the thread that sends it: no other thread has to wake up.
//!
//! # From a socket to a dispatcher
//!
//! | step | where | what happens |
//! |---|---|---|
//! | 1 | [`EventDriver::wait`](crate::EventDriver::wait) | one system call returns all sources that are ready |
//! | 2 | [`EventCenter::turn`](crate::event::EventCenter::turn) | drops events of sources that are gone, and calls the worker with the tag of each |
//! | 3 | the link | one `readv` into the worker's receive buffer, behind what the link had kept |
//! | 4 | [`Decoder`](crate::proto::v1::Decoder) | checks the header and its lengths, asks the throttles, cuts the segments out of the buffer, checks their CRCs |
//! | 5 | the link | drops what has an old sequence number |
//! | 6 | [`Dispatcher`](crate::Dispatcher) | fast dispatch on the spot, or by the dispatch queue |
//!
//! Nothing is copied on this way but the incomplete tail of a read, when another link has read in
//! between. A segment of 32 KiB or more that has not arrived whole gets a buffer of its own; what
//! is there is copied, and the rest is read straight into it.
//!
//! A connection that meets a full throttle is parked: its read interest is taken back, so TCP tells
//! the sender, and the permit comes later as a command to the worker. Nobody polls for it.
//!
//! # From `send` to a socket
//!
//! | step | where | what happens |
//! |---|---|---|
//! | 1 | [`Connection::send`](crate::Connection::send) | fills in the head and computes the CRCs, on the caller's thread, without a lock |
//! | 2 | the send queue | takes the message, or gives it back if there is no room |
//! | 3 | the gate | idle: this thread flushes. Busy: whoever flushes will take it. Down: it waits for the link |
//! | 4 | [`Encoder`](crate::proto::v1::Encoder) | heads and small payloads are copied into one buffer, large payloads passed by reference |
//! | 5 | the socket | one `sendmsg` for up to 64 messages or 256 KiB |
//! | 6 | no room | the worker goes on when the socket is writable |
//!
//! On the connection's own worker step 3 only notes the session; it is flushed at the end of the
//! turn, so that all replies of one turn leave together.
//!
//! # The modules
//!
//! | module | knows | does not know |
//! |---|---|---|
//! | crate `event_driver` | system calls | messages, sessions |
//! | [`event`](crate::event) | one `dyn EventDriver` | which one; file descriptors; protocols |
//! | [`net`](crate::net) | sockets, addresses | messages |
//! | [`wire`](crate::wire) | encodings | which bytes come when |
//! | [`message`](crate::message), [`messages`](crate::messages) | payloads | connections |
//! | [`proto`](crate::proto) | the order of bytes | sockets, clocks, policies |
//! | [`throttle`](crate::throttle) | counting | what is counted |
//! | workers, links, sessions, [`messenger`](crate::messenger) | all of the above | drivers by name |
//!
//! The file `ARCHITECTURE.md` of the repository has the map of files, the invariants by name, and
//! where this differs from the design that it started from.
