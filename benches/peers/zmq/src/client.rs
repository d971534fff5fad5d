//! Keeps requests in flight on all sockets, from one thread.

use std::time::Instant;

use common::{ClientArgs, InFlight, Meter};
use zmq::{Context, DONTWAIT, Error, Message, POLLIN, Result, SNDMORE, Socket, SocketType};

pub(crate) fn run(args: &ClientArgs) -> Result<()> {
    let context = Context::new();
    let data = vec![0x5a; args.size as usize];
    let mut links = Vec::new();
    for _ in 0..args.connections {
        let socket = context.socket(SocketType::DEALER)?;
        socket.set_sndhwm(0)?;
        socket.set_rcvhwm(0)?;
        socket.set_linger(0)?;
        socket.connect(&format!("tcp://{}", args.addr))?;
        links.push((socket, InFlight::default()));
    }
    let mut meter = Meter::new(args);
    for (socket, in_flight) in &mut links {
        issue(socket, in_flight, &data, Instant::now(), args.depth.into())?;
    }
    let mut reply = Message::new();
    loop {
        let sockets = links.iter().map(|(socket, _)| socket.as_poll_item(POLLIN));
        let mut sockets: Vec<_> = sockets.collect();
        zmq::poll(&mut sockets, -1)?;
        let ready: Vec<bool> = sockets.iter().map(|item| item.is_readable()).collect();
        let ready = links.iter_mut().zip(ready).filter(|(_, ready)| *ready);
        for ((socket, in_flight), _) in ready {
            let count = receive(socket, in_flight, &mut reply)?;
            let now = Instant::now();
            in_flight.replied(now, count, &mut meter);
            if meter.advance(now) {
                meter.print();
                // Closing would wait for what is on its way.
                std::process::exit(0);
            }
            issue(socket, in_flight, &data, now, count)?;
        }
    }
}

fn issue(
    socket: &Socket,
    in_flight: &mut InFlight,
    data: &[u8],
    now: Instant,
    count: u64,
) -> Result<()> {
    for id in in_flight.issue(now, count) {
        socket.send(&id.to_le_bytes()[..], SNDMORE)?;
        socket.send(data, 0)?;
    }
    Ok(())
}

/// Takes what replies there are.
fn receive(socket: &Socket, in_flight: &InFlight, reply: &mut Message) -> Result<u64> {
    let mut count = 0;
    loop {
        match socket.recv(reply, DONTWAIT) {
            Ok(()) => {}
            Err(Error::EAGAIN) => return Ok(count),
            Err(e) => return Err(e),
        }
        let id = (in_flight.oldest() + count).to_le_bytes();
        assert_eq!(reply[..], id, "a reply");
        count += 1;
    }
}
