//! A real coordinator, with parties that do what the test says.

mod bans;
mod late_reports;
mod presignatures;
mod scripted;
