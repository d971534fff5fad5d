//! Answers each request by its number.

use common::ServerArgs;
use zmq::{Context, Message, Result, SNDMORE, SocketType};

pub(crate) fn run(args: &ServerArgs) -> Result<()> {
    common::server::end_when_told().expect("signals and threads");
    let context = Context::new();
    context.set_io_threads(args.threads.into())?;
    let router = context.socket(SocketType::ROUTER)?;
    router.set_sndhwm(0)?;
    router.set_rcvhwm(0)?;
    router.bind(&format!("tcp://{}", args.listen))?;
    let endpoint = router.get_last_endpoint()?.expect("an address");
    let addr = endpoint.trim_start_matches("tcp://");
    common::server::announce(addr).expect("somebody reads");
    let (mut from, mut number, mut data) = (Message::new(), Message::new(), Message::new());
    loop {
        router.recv(&mut from, 0)?;
        router.recv(&mut number, 0)?;
        router.recv(&mut data, 0)?;
        router.send(&from[..], SNDMORE)?;
        router.send(&number[..], 0)?;
    }
}
