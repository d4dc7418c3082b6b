//! The contract of every queue, as tests. An adapter's tests are `conformance::suite!(async { … a fresh queue … })`.

use std::time::Duration;

use super::{
    Consumer, Delivery, MAX_DELIVERIES, MAX_QUEUE_LENGTH, MAX_WAITING_ANNOUNCEMENTS, Queue, QueueError,
    TopicListener,
};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);

/// How long a message is waited for that should be there.
const SOON: Duration = Duration::from_secs(5);

/// How long nothing is waited for.
const MOMENT: Duration = Duration::from_millis(100);

macro_rules! suite {
    ($fresh:expr) => {
        $crate::queue::conformance::tests! {
            $fresh;
            messages_come_in_order_and_once_when_acknowledged,
            a_message_that_is_not_acknowledged_comes_again,
            a_message_that_nobody_acknowledges_becomes_a_dead_letter,
            a_message_whose_time_is_over_becomes_a_dead_letter,
            a_consumer_has_no_more_than_its_prefetch,
            two_consumers_share_the_messages,
            what_a_dropped_consumer_had_goes_to_another,
            a_full_queue_takes_nothing_more_and_loses_nothing,
            a_cancelled_wait_loses_nothing,
            queues_are_apart,
            everybody_who_listens_hears_what_is_announced,
            a_listener_that_falls_behind_misses_the_oldest,
        }
    };
}
pub(crate) use suite;

macro_rules! tests {
    ($fresh:expr; $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let queue = $fresh.await;
            $crate::queue::conformance::$name(&queue).await;
        }
    )*};
}
pub(crate) use tests;

async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    tokio::time::timeout(SOON, consumer.next()).await.expect("a message").expect("a queue")
}

async fn assert_nothing(consumer: &mut Box<dyn Consumer>) {
    let got = tokio::time::timeout(MOMENT, consumer.next()).await;
    assert!(got.is_err(), "{got:?}");
}

async fn publish(queue: &dyn Queue, payload: u8) {
    queue.publish("q", vec![payload], LONG).await.unwrap();
}

pub(crate) async fn messages_come_in_order_and_once_when_acknowledged(queue: &dyn Queue) {
    for payload in 0..3 {
        publish(queue, payload).await;
    }
    let mut consumer = queue.consume("q", 10).await.unwrap();
    for payload in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.payload(), delivery.attempt()), ([payload].as_slice(), 1));
        delivery.ack().await.unwrap();
    }
    assert_nothing(&mut consumer).await;
    assert!(queue.dead_letters("q").await.unwrap().is_empty());
}

pub(crate) async fn a_message_that_is_not_acknowledged_comes_again(queue: &dyn Queue) {
    publish(queue, 7).await;
    let mut consumer = queue.consume("q", 1).await.unwrap();
    drop(next(&mut consumer).await);
    let again = next(&mut consumer).await;
    assert_eq!((again.payload(), again.attempt()), ([7].as_slice(), 2));
    again.ack().await.unwrap();
    assert_nothing(&mut consumer).await;
}

pub(crate) async fn a_message_that_nobody_acknowledges_becomes_a_dead_letter(queue: &dyn Queue) {
    publish(queue, 7).await;
    let mut consumer = queue.consume("q", 1).await.unwrap();
    for attempt in 1..=MAX_DELIVERIES {
        assert_eq!(next(&mut consumer).await.attempt(), attempt);
    }
    assert_nothing(&mut consumer).await;
    assert_eq!(queue.dead_letters("q").await.unwrap(), [[7]]);
}

pub(crate) async fn a_message_whose_time_is_over_becomes_a_dead_letter(queue: &dyn Queue) {
    queue.publish("q", vec![7], MOMENT).await.unwrap();
    tokio::time::sleep(MOMENT * 2).await;
    let mut consumer = queue.consume("q", 1).await.unwrap();
    assert_nothing(&mut consumer).await;
    assert_eq!(queue.dead_letters("q").await.unwrap(), [[7]]);
}

pub(crate) async fn a_consumer_has_no_more_than_its_prefetch(queue: &dyn Queue) {
    for payload in 0..3 {
        publish(queue, payload).await;
    }
    let mut consumer = queue.consume("q", 2).await.unwrap();
    let (first, _second) = (next(&mut consumer).await, next(&mut consumer).await);
    assert_nothing(&mut consumer).await;
    first.ack().await.unwrap();
    assert_eq!(next(&mut consumer).await.payload(), [2]);
}

pub(crate) async fn two_consumers_share_the_messages(queue: &dyn Queue) {
    let mut one = queue.consume("q", 1).await.unwrap();
    let mut two = queue.consume("q", 1).await.unwrap();
    publish(queue, 1).await;
    publish(queue, 2).await;
    let (a, b) = tokio::join!(next(&mut one), next(&mut two));
    let mut payloads = [a.payload()[0], b.payload()[0]];
    payloads.sort_unstable();
    assert_eq!(payloads, [1, 2]);
}

pub(crate) async fn what_a_dropped_consumer_had_goes_to_another(queue: &dyn Queue) {
    publish(queue, 7).await;
    let mut one = queue.consume("q", 1).await.unwrap();
    let delivery = next(&mut one).await;
    drop((one, delivery));
    let mut two = queue.consume("q", 1).await.unwrap();
    assert_eq!(next(&mut two).await.payload(), [7]);
}

/// A full queue may take a few more than it should: a broker counts while messages are on their way.
pub(crate) async fn a_full_queue_takes_nothing_more_and_loses_nothing(queue: &dyn Queue) {
    assert_eq!(queue.has_room("q").await, Ok(true));
    let mut taken = 0;
    while taken < 2 * MAX_QUEUE_LENGTH {
        match queue.publish("q", vec![1], LONG).await {
            Ok(()) => taken += 1,
            refused => {
                assert_eq!(refused, Err(QueueError::Full));
                break;
            }
        }
    }
    assert!(
        (MAX_QUEUE_LENGTH..MAX_QUEUE_LENGTH + MAX_QUEUE_LENGTH / 10).contains(&taken),
        "{taken} were taken"
    );
    // A consumer may rely on the state of a moment ago.
    tokio::time::sleep(MOMENT * 3).await;
    assert_eq!(queue.has_room("q").await, Ok(false));
    let mut consumer = queue.consume("q", MAX_QUEUE_LENGTH).await.unwrap();
    for _ in 0..taken {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.payload(), [1]);
        delivery.ack().await.unwrap();
    }
    publish(queue, 3).await;
    assert_eq!(next(&mut consumer).await.payload(), [3]);
}

pub(crate) async fn a_cancelled_wait_loses_nothing(queue: &dyn Queue) {
    let mut consumer = queue.consume("q", 1).await.unwrap();
    for _ in 0..3 {
        assert_nothing(&mut consumer).await;
    }
    publish(queue, 7).await;
    assert_eq!(next(&mut consumer).await.payload(), [7]);
}

pub(crate) async fn queues_are_apart(queue: &dyn Queue) {
    publish(queue, 7).await;
    let mut other = queue.consume("other", 1).await.unwrap();
    assert_nothing(&mut other).await;
}

async fn heard(listener: &mut Box<dyn TopicListener>) -> Vec<u8> {
    tokio::time::timeout(SOON, listener.next()).await.expect("nothing was heard").unwrap()
}

pub(crate) async fn everybody_who_listens_hears_what_is_announced(queue: &dyn Queue) {
    queue.announce("news", b"before anybody listens".to_vec()).await.unwrap();
    let mut first = queue.listen("news").await.unwrap();
    let mut second = queue.listen("news").await.unwrap();
    let mut elsewhere = queue.listen("other").await.unwrap();
    for news in [b"one", b"two"] {
        queue.announce("news", news.to_vec()).await.unwrap();
    }
    for listener in [&mut first, &mut second] {
        assert_eq!((heard(listener).await, heard(listener).await), (b"one".to_vec(), b"two".to_vec()));
    }
    drop(first);
    queue.announce("news", b"three".to_vec()).await.unwrap();
    assert_eq!(heard(&mut second).await, b"three");
    assert!(tokio::time::timeout(MOMENT, elsewhere.next()).await.is_err(), "topics are apart");
}

pub(crate) async fn a_listener_that_falls_behind_misses_the_oldest(queue: &dyn Queue) {
    let mut listener = queue.listen("news").await.unwrap();
    let last = 8 * MAX_WAITING_ANNOUNCEMENTS;
    for number in 0..=last {
        queue.announce("news", number.to_be_bytes().to_vec()).await.unwrap();
    }
    // Until the last one is where it waits.
    tokio::time::sleep(MOMENT * 3).await;
    let mut all = 0;
    while heard(&mut listener).await != last.to_be_bytes() {
        all += 1;
    }
    assert!(all <= 2 * MAX_WAITING_ANNOUNCEMENTS, "{all} waited for one listener");
}
