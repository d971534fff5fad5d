//! The event core alone: a timer, a socket and events from another thread, on one loop.
//!
//! `cargo run --example event_center`

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
use async_messenger::{DriverKind, Interest, Readiness, Token};
use event_driver::sock::source;

/// What the loop is to stop after, if it has not seen everything by then.
const GIVE_UP: Duration = Duration::from_secs(5);

// Tags: what a registration or a timer is about. The center hands them back and does not care.
const SOCKET: u64 = 1;
const TICK: u64 = 2;
const DEADLINE: u64 = 3;

/// The owner of the center: its state, and what it does with events.
struct Owner {
    socket: TcpStream,
    heard: Vec<u8>,
    ticks: u32,
    posted: Vec<String>,
    late: bool,
}

impl Owner {
    fn done(&self) -> bool {
        self.heard == b"hello from a thread" && self.ticks == 3 && self.posted.len() == 2
    }
}

impl Handler<String> for Owner {
    /// Reads until the socket has no more, then asks for the next event.
    fn file_event(
        &mut self,
        center: &mut EventCenter<String>,
        token: Token,
        tag: u64,
        _: Readiness,
    ) {
        assert_eq!(tag, SOCKET);
        let mut buf = [0; 1024];
        loop {
            match self.socket.read(&mut buf) {
                Ok(0) => break center.deregister(token).expect("registered"),
                Ok(n) => {
                    println!("socket: {:?}", String::from_utf8_lossy(&buf[..n]));
                    self.heard.extend_from_slice(&buf[..n]);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    break center.rearm(token, Interest::READ).expect("registered");
                }
                Err(e) => panic!("read: {e}"),
            }
        }
    }

    /// A timer fires once; who wants a period sets it again.
    fn time_event(&mut self, center: &mut EventCenter<String>, _: TimerId, tag: u64) {
        if tag == DEADLINE {
            self.late = true;
            return;
        }
        self.ticks += 1;
        println!("timer: tick {}", self.ticks);
        if self.ticks < 3 {
            center.set_timer(center.now() + Duration::from_millis(20), TICK);
        }
    }

    fn external_event(&mut self, _: &mut EventCenter<String>, event: String) {
        println!("external: {event}");
        self.posted.push(event);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let driver = DriverKind::default_for_target().open()?;
    let mut center = EventCenter::new(driver, Arc::new(SystemEnv));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut far_end = TcpStream::connect(listener.local_addr()?)?;
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    // The driver shares the descriptor, so that its number stays taken until the source is gone.
    let shared = Arc::new(socket.try_clone()?.into());
    center.register(source(&shared), Interest::READ, SOCKET)?;
    center.set_timer(center.now() + Duration::from_millis(20), TICK);
    center.set_timer(center.now() + GIVE_UP, DEADLINE);

    let handle = center.handle();
    let other = thread::spawn(move || {
        handle.submit("first".to_owned()).expect("room");
        far_end.write_all(b"hello from a thread").expect("write");
        handle.submit("second".to_owned()).expect("room");
    });

    let mut owner = Owner {
        socket,
        heard: Vec::new(),
        ticks: 0,
        posted: Vec::new(),
        late: false,
    };
    while !owner.done() && !owner.late {
        center.turn(None, &mut owner)?;
    }
    other.join().map_err(|_| "the other thread panicked")?;
    if !owner.done() {
        return Err(format!("not everything happened in {GIVE_UP:?}").into());
    }
    assert_eq!(owner.posted, ["first", "second"], "of one thread, in order");
    Ok(())
}
