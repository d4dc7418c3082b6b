//! The names of what a deployment has at its broker. Each begins with the namespace.

/// The name of the exchange that takes messages for queues.
pub(super) fn queues_exchange(namespace: &str) -> String {
    format!("{namespace}.queues")
}

pub(super) fn queue_name(namespace: &str, queue: &str) -> String {
    format!("{namespace}.{queue}")
}

pub(super) fn dead_name(namespace: &str, queue: &str) -> String {
    format!("{namespace}.{queue}.dead")
}

pub(super) fn topic_exchange(namespace: &str, topic: &str) -> String {
    format!("{namespace}.topic.{topic}")
}

/// What the names of a user's own queues begin with: those in which announcements wait for one listener.
pub(super) fn listener_prefix(namespace: &str, user: &str) -> String {
    format!("{namespace}.listener.{user}.")
}
