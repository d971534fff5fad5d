//! Answers each request of a stream on the stream back.

use std::pin::Pin;

use common::ServerArgs;
use futures_util::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::message;
use crate::service::bench_server::{Bench, BenchServer};
use crate::{Error, MESSAGE, WINDOW};

struct Service;

#[async_trait]
impl Bench for Service {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<message::Reply, Status>> + Send>>;

    async fn exchange(
        &self,
        requests: Request<Streaming<message::Request>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let requests = requests.into_inner();
        let replies = requests.map(|request| Ok(message::Reply { id: request?.id }));
        Ok(Response::new(Box::pin(replies)))
    }
}

pub(crate) fn run(args: &ServerArgs) -> Result<(), Error> {
    common::server::end_when_told()?;
    let mut builder = match args.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(args.threads.into()).enable_all();
    builder.build()?.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        common::server::announce(listener.local_addr()?)?;
        let service = BenchServer::new(Service).max_decoding_message_size(MESSAGE);
        let mut server = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let sockets = TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(server
            .add_service(service)
            .serve_with_incoming(sockets)
            .await?)
    })
}
