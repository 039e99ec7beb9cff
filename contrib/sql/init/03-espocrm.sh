#!/bin/sh
# EspoCRM's database and its user, from ESPOCRM_DB_NAME, ESPOCRM_DB_USER and ESPOCRM_DB_PASSWORD. MySQL's image runs it when its
# volume is new. It can be run again at any time, for example after a change of the password:
#
#   docker compose exec mysql sh /docker-entrypoint-initdb.d/03-espocrm.sh
#
# An existing database stays as it is. What the variables hold may have quotes in it. In brackets, since the image reads a script
# that is not executable into its own shell.
(
    set -eu
    name=${ESPOCRM_DB_NAME:-espocrm} user=${ESPOCRM_DB_USER:-espocrm}
    if [ -z "${ESPOCRM_DB_PASSWORD:-}" ]; then
        echo "Set ESPOCRM_DB_PASSWORD in .env." >&2
        exit 1
    fi

    # As MySQL reads a text in single quotes, and a name in backquotes.
    text() { printf %s "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g"; }
    quoted() { printf %s "$1" | sed -e 's/`/``/g'; }
    # In the name of a grant _ and % stand for anything.
    literal() { quoted "$1" | sed -e 's/[_%]/\\&/g'; }

    # Neither password gets onto a command line.
    MYSQL_PWD=${MYSQL_ROOT_PASSWORD:-} mysql --user=root --default-character-set=utf8mb4 <<SQL
SET SESSION sql_mode = '';
CREATE DATABASE IF NOT EXISTS \`$(quoted "$name")\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE USER IF NOT EXISTS '$(text "$user")'@'%' IDENTIFIED BY '$(text "$ESPOCRM_DB_PASSWORD")';
ALTER USER '$(text "$user")'@'%' IDENTIFIED BY '$(text "$ESPOCRM_DB_PASSWORD")';
GRANT ALL PRIVILEGES ON \`$(literal "$name")\`.* TO '$(text "$user")'@'%';
SQL
    echo "EspoCRM's database and its user are there."
)
