FROM quorate-standin:base
COPY standin-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN mkdir -p /var/lib/postgresql/data /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq/conf.d /docker-entrypoint-initdb.d /data /proc /sys /dev \
 && chown -R postgres: /var/lib/postgresql && chown -R rabbitmq: /var/lib/rabbitmq /var/log/rabbitmq && chown redis: /data \
 && chmod 3777 /run/postgresql
ENV PGDATA=/var/lib/postgresql/data RABBITMQ_CONFIG_FILES=/etc/rabbitmq/conf.d RABBITMQ_LOG_BASE=/var/log/rabbitmq LANG=C.UTF-8
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
