"""What stands between the network and an acknowledgement: who may send, what arrives, what is answered. Read `reception` first."""
