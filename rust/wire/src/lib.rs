pub mod frames;
pub mod http;
pub mod protobuf;
pub mod rate;
pub mod tcp;
pub mod websocket;
