//! Keeps requests in flight on all connections, from one thread.

use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::time::Instant;

use common::{ClientArgs, InFlight, Meter};

use crate::How;
use crate::link::{self, Link};
use crate::ring::Ring;

pub(crate) fn run(args: &ClientArgs, how: How) -> io::Result<()> {
    let mut ring = Ring::new(how)?;
    // Never dropped: there are requests to the end.
    let mut links = ManuallyDrop::new(Vec::new());
    for number in 0..args.connections as usize {
        let socket = TcpStream::connect(args.addr)?;
        let data = vec![0x5a; args.size as usize];
        let link = Link::new(&mut ring, socket, number, data, how)?;
        links.push((link, InFlight::default()));
    }
    let mut meter = Meter::new(args);
    for (link, in_flight) in links.iter_mut() {
        issue(link, in_flight, u64::from(args.depth), Instant::now());
        link.request(&mut ring)?;
    }
    let mut completed = Vec::new();
    loop {
        ring.turn(&mut completed)?;
        for told in &completed {
            let (link, in_flight) = &mut links[link::number(told)];
            let (mut count, oldest) = (0, in_flight.oldest());
            link.completed(&mut ring, told, |_, head| {
                assert_eq!((head.id, head.len), (oldest + count, 0), "a reply");
                count += 1;
            })?;
            if count > 0 {
                let now = Instant::now();
                in_flight.replied(now, count, &mut meter);
                issue(link, in_flight, count, now);
                if meter.advance(now) {
                    meter.print();
                    return Ok(());
                }
            }
        }
        for told in &completed {
            links[link::number(told)].0.request(&mut ring)?;
        }
    }
}

fn issue(link: &mut Link, in_flight: &mut InFlight, count: u64, now: Instant) {
    for id in in_flight.issue(now, count) {
        link.outlet.push(id);
    }
}
