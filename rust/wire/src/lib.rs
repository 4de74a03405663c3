pub mod frames;
pub mod http;
pub mod protobuf;
pub mod tcp;
pub mod websocket;
