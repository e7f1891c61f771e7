#!/usr/bin/env bash
# The secured listeners of `scripts/kafka up --secure`: certificates, SCRAM users, ACLs. For scripts/kafka, which sources it.
# shellcheck disable=SC2154 # `cluster` is set there.

# Makes NAME.key and NAME.pem, signed by the authority, for the subject and the alternative names given.
signed() {
  local name=$1 subject=$2 names=$3
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" -keyout "$name.key" -out "$name.csr" 2>/dev/null
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out "$name.pem" \
    -extfile <(echo "subjectAltName=$names") 2>/dev/null
  rm "$name.csr"
}

# Makes what a secured cluster needs in the folder $1, as PEM files: an authority, a broker's and a client's certificate; and a password.
make_secrets() (
  set -e
  cd "$1"
  umask 077
  head -c 18 /dev/urandom | base64 | tr '+/' '-_' >password
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=user-courier tests" \
    -keyout ca.key -out ca.pem 2>/dev/null
  signed broker /CN=broker IP:127.0.0.1,DNS:localhost
  signed client /CN=courier DNS:courier
  # Kafka wants a key and its certificate in one file.
  cat broker.key broker.pem >broker-keystore.pem
  # In a container, the broker is another user.
  chmod a+r ./*.pem
)

# The secured listeners of broker $1, and who may do what.
configure_security() {
  local dir bind=$2 listener
  dir=$(node_dir "$1")
  # As Kafka has it by default: whoever wants no topic created must say so itself.
  sed -i -e "s#^auto.create.topics.enable=.*#auto.create.topics.enable=true#" -e "s#^listeners=.*#&,MTLS://$bind:$(cat "$dir/mtls-port"),SASL://$bind:$(cat "$dir/sasl-port")#" \
    -e "s#^advertised.listeners=.*#&,MTLS://127.0.0.1:$(cat "$dir/mtls-port"),SASL://127.0.0.1:$(cat "$dir/sasl-port")#" \
    -e "s#^listener.security.protocol.map=.*#&,MTLS:SSL,SASL:SASL_SSL#" "$dir/server.properties"
  for listener in mtls sasl; do
    cat <<TEXT
listener.name.$listener.ssl.keystore.type=PEM
listener.name.$listener.ssl.keystore.location=$cluster/tls/broker-keystore.pem
listener.name.$listener.ssl.truststore.type=PEM
listener.name.$listener.ssl.truststore.location=$cluster/tls/ca.pem
TEXT
  done >>"$dir/server.properties"
  cat >>"$dir/server.properties" <<TEXT
listener.name.mtls.ssl.client.auth=required
listener.name.mtls.ssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/\$1/
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:courier
TEXT
}

# The arguments of StorageTool that make the SCRAM users.
scram_users() {
  local user mechanism
  is_secure || return 0
  for user in courier stranger; do
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      printf '%s\n' --add-scram "$mechanism=[name=$user,password=$(cat "$cluster/tls/password")]"
    done
  done
}
