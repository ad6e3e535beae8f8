"""The wire format: small frozen records that go through XCom and stay in the store."""
