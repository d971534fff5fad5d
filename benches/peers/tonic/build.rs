//! Makes the client and the server of the one service, without `protoc`.

fn main() {
    let exchange = tonic_build::manual::Method::builder()
        .name("exchange")
        .route_name("Exchange")
        .input_type("crate::message::Request")
        .output_type("crate::message::Reply")
        .codec_path("tonic_prost::ProstCodec")
        .client_streaming()
        .server_streaming()
        .build();
    let service = tonic_build::manual::Service::builder()
        .name("Bench")
        .package("bench")
        .method(exchange)
        .build();
    tonic_build::manual::Builder::new().compile(&[service]);
}
