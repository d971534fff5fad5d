//! Questions about the design, and the answers.
//!
//! # Why no async runtime?
//!
//! The messenger is the runtime: it has an event loop, timers and a place for work. Ceph's API is
//! callbacks on known threads, and fast dispatch is worth having because no scheduler stands
//! between the socket and the handler. A crate that brought its own executor would also choose one
//! for its users. A dispatcher that sends into a channel joins this one to any runtime.
//!
//! # Why `dyn EventDriver` and not a type parameter?
//!
//! A parameter would spread to the event center, the workers and the messenger, and a test binary
//! would need one copy of them per backend. An enum would close the set, and a driver of one's own
//! could not be plugged in. The call through the table is made a few times in a turn, next to a
//! system call that costs far more.
//!
//! # Why "delivered, then re-armed"?
//!
//! Edge-triggered, level-triggered, one-shot and completion-based facilities all can do it, and
//! each in its cheapest form: on epoll and kqueue a delivered direction stays armed, so `rearm` has
//! nothing to do (`keeps_armed`), and the event center does not call it; on poll it sets a bit.
//! A handler may be called for nothing and must try until it gets `WouldBlock` or a short transfer;
//! it does so anyway.
//!
//! # Why does a driver have `disarm`?
//!
//! For connections that a throttle holds up. Not reading is not enough: with an edge-triggered
//! facility each segment that arrives is another edge and would wake the worker for nothing; with a
//! level-triggered one the mask would have to be known to somebody else.
//!
//! # Why own drivers and not mio or polling?
//!
//! Because all backends have to be in one binary and be chosen at run time, be tested by the same
//! suite, and take sources that no kernel knows (a simulated socket). Each is a file of a few
//! hundred lines.
//!
//! # Why a queue with a gate?
//!
//! The two usual answers are a lock around the connection, which makes senders wait for receiving,
//! and a command to the worker for each message, which costs an idle sender a wake-up. Here senders
//! meet only each other, in a lock that is held for the time of a push, and the gate behind it says
//! who writes: exactly one thread, and on an idle connection the one that has something to send.
//! "Is there more?" and "does somebody write?" are decided under the same lock, so no message can
//! be left behind between the two.
//!
//! # Why may my thread write to a socket?
//!
//! It saves the wake-up of another thread. The write does not block, and after 64 KiB the worker
//! takes over. `inline_send` switches it off.
//!
//! # Why does `send` give the message back?
//!
//! A full queue is a fact that only the caller can deal with: wait, drop, or send elsewhere.
//! Blocking would hide it and can deadlock a dispatcher; dropping silently loses work.
//!
//! # Why are dispatchers fixed at the start?
//!
//! Every message looks them up, on every worker. A list that cannot change needs no lock.
//!
//! # Why one dispatch thread?
//!
//! Because dispatchers are written for it: normal dispatch is one call at a time. Who wants more
//! takes messages by fast dispatch and hands them to threads of their own.
//!
//! # Why is a timer not a wheel?
//!
//! A heap knows the next deadline exactly, so an idle worker sleeps until then and is not woken by
//! ticks. Cancelling only empties the timer's slot; a sweep removes such leftovers when they are
//! the larger part, so memory follows the number of pending timers.
//!
//! # Why slices of the receive buffer?
//!
//! Many small messages come in one read. Cutting them out saves an allocation and a copy for each;
//! the price is that a kept message keeps its neighbours' memory, for which there is
//! [`Message::compact`](crate::message::Message::compact).
//!
//! # Why is the clock passed in?
//!
//! A handshake that times out, a back-off that doubles, a run that is repeated from a seed: with an
//! [`Env`](crate::event::Env) a test steps time instead of waiting for it.
//!
//! # Why a second crate for the drivers?
//!
//! It holds all `unsafe` of the project, so the compiler can forbid it everywhere else; and the
//! border between "knows system calls" and "knows messages" is one that cannot be crossed by
//! accident.
