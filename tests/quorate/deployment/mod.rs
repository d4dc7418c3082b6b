//! The program as processes: settings, signals, TLS, several processes together.

mod api_keys;
mod capabilities;
mod many_processes;
mod one_process;
mod plugins;
mod private_networks;
mod queue_users;
mod repair;
mod settings;
mod tls;
mod websocket;
